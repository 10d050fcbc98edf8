#include <nlohmann/json.hpp>

#include "launch/run_result.hpp"

namespace moewe {
namespace {

using Json = nlohmann::ordered_json;

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json exchange_json(const RunResult& result) {
  Json pairs = Json::array();
  for (const PairPath& pair : result.exchange) {
    pairs.push_back({{"from", pair.from},
                     {"to", pair.to},
                     {"path", pair.path},
                     {"carrier", pair.carrier},
                     {"reason", pair.reason},
                     {"carrier_reason", pair.carrier_reason}});
  }
  return pairs;
}

Json time_json(const RunResult& result) {
  Json time;
  time["step"] = {{"p50", percentile(result.step_times, 0.50)},
                  {"p90", percentile(result.step_times, 0.90)},
                  {"p99", percentile(result.step_times, 0.99)},
                  {"max", percentile(result.step_times, 1.00)}};
  for (std::size_t p = 0; p < num_phases; ++p) time[phase_names[p]] = result.phase_times[p];
  return time;
}

Json ledger_json(const RunResult& result) {
  return {{"assigned", result.assigned},
          {"computed", result.computed()},
          {"computed_per_rank", result.computed_per_rank},
          {"computed_before", result.computed_before},
          {"dropped",
           {{"over_capacity", result.dropped_over_capacity()}, {"no_room", result.dropped_without_room()}}},
          {"rerouted", result.rerouted()},
          {"lost", result.lost()}};
}

/// Per layer and expert, over all steps.
Json overflow_json(const RunResult& result) {
  Json layers = Json::array();
  for (std::size_t i = 0; i < result.overflow.size(); ++i) {
    const OverflowReport& layer = result.overflow[i];
    layers.push_back({{"layer", result.layers[i]},
                      {"capacity", layer.capacity},
                      {"assigned", layer.assigned},
                      {"kept", layer.kept},
                      {"over_capacity", layer.over_capacity},
                      {"no_room", layer.no_room},
                      {"rerouted_from", layer.rerouted_from},
                      {"rerouted_to", layer.rerouted_to}});
  }
  return layers;
}

/// Means per step.
Json waits_json(const RunResult& result) {
  const auto num_steps = static_cast<double>(result.step_times.size());
  Json waits = Json::array();
  for (const RankWait& wait : result.waits) {
    waits.push_back({{"rank", wait.rank},
                     {"peer", wait.peer < 0 ? Json(nullptr) : Json(wait.peer)},
                     {"phase", name_of(wait.phase)},
                     {"for", wait.awaited == Awaited::taking ? "taking" : "arrival"},
                     {"seconds", wait.seconds / num_steps}});
  }
  return waits;
}

Json slow_rank_json(const RunResult& result) {
  if (!result.slow_rank) return nullptr;
  const SlowRank& slow = *result.slow_rank;
  return {{"rank", slow.rank},
          {"seconds", slow.seconds / static_cast<double>(result.step_times.size())},
          {"share", slow.share},
          {"phase", name_of(slow.phase)},
          {"reason", name_of(slow.kind)}};
}

std::vector<double> in_ones(const std::vector<Millionths>& values) {
  std::vector<double> ones;
  for (const Millionths value : values) ones.push_back(static_cast<double>(value) / 1e6);
  return ones;
}

Json migration_json(const RunResult& result) {
  const RebalanceTotals& totals = result.migration;
  return {{"rebalance", result.rebalance},
          {"epochs", totals.epochs},
          {"moves", totals.moves},
          {"bytes", totals.bytes},
          {"cancelled", totals.cancelled},
          {"budget_bytes", totals.budget_bytes},
          {"budget_reason", totals.budget_reason},
          {"stall_s", totals.stall_s},
          {"measured", result.measured},
          {"slowness", in_ones(totals.slowness)},
          {"interference", in_ones({totals.costs.interference}).front()},
          {"switching", in_ones({totals.costs.switching}).front()},
          {"log", totals.log}};
}

Json alarms_json(const RunResult& result) {
  constexpr double millionth = 1e-6;
  Json alarms = Json::array();
  for (const RaisedAlarm& raised : result.alarms) {
    const LoadAlarm& alarm = raised.alarm;
    const bool is_of_source = alarm.kind == LoadAlarmKind::source;
    const bool is_of_expert = is_of_source || alarm.kind == LoadAlarmKind::cold;
    alarms.push_back({{"layer", raised.layer},
                      {"step", raised.step + 1},
                      {"kind", name_of(alarm.kind)},
                      {"expert", is_of_expert ? Json(alarm.expert) : Json(nullptr)},
                      {"source", is_of_source ? Json(alarm.source) : Json(nullptr)},
                      {"value", static_cast<double>(alarm.value) * millionth},
                      {"limit", static_cast<double>(alarm.threshold) * millionth}});
  }
  return alarms;
}

Json memory_json(const RunResult& result) {
  return {{"planned_bytes", RunResult::most(result.planned_bytes_per_rank)},
          {"peak_bytes", RunResult::most(result.peak_bytes_per_rank)},
          {"process_bytes", RunResult::most(result.process_bytes_per_rank)},
          {"limit_bytes", RunResult::most(result.limit_bytes_per_rank)},
          {"planned_bytes_per_rank", result.planned_bytes_per_rank},
          {"peak_bytes_per_rank", result.peak_bytes_per_rank},
          {"process_bytes_per_rank", result.process_bytes_per_rank},
          {"peak_bytes_by_name", result.peak_bytes_by_name},
          {"rounds", result.most_rounds}};
}

Json near_ties_json(const ReferenceResult& reference) {
  Json ties = Json::array();
  for (const NearTie& tie : reference.ties()) {
    ties.push_back({{"layer", tie.layer},
                    {"token", tie.token},
                    {"chosen", tie.chosen},
                    {"recorded", tie.recorded},
                    {"score_difference", tie.score_difference}});
  }
  return ties;
}

Json verify_json(const RunResult& result) {
  const ReferenceResult& reference = result.reference;
  return {{"level", result.verify_level},
          {"passed", result.passed()},
          {"compared_rows", reference.compared_outputs},
          {"compared_ids", reference.compared_ids},
          {"mismatched", reference.mismatched},
          {"near_ties", reference.near_ties},
          {"near_ties_listed", near_ties_json(reference)},
          {"not_finite", reference.not_finite},
          {"max_abs_err", reference.max_abs_err},
          {"max_abs_err_over_rms", reference.relative_err()},
          {"rms_err_over_rms", reference.relative_rms_err()},
          {"max_weight_err", reference.max_weight_err}};
}

}  // namespace

std::string to_json(const RunResult& result) {
  Json json{{"format", 1},
            {"ranks", result.ranks},
            {"nodes", result.nodes},
            {"device", result.device},
            {"device_name", text_or_null(result.device_name)},
            {"device_reason", result.device_reason},
            {"device_mode", text_or_null(result.device_mode)},
            {"isa", result.isa},
            {"matmul_rows", result.matmul_rows},
            {"expert_matmuls", text_or_null(result.expert_matmuls)},
            {"threads", result.threads},
            {"model", result.model},
            {"dtype", result.dtype},
            {"combine", result.combine},
            {"split", result.split},
            {"routing", result.routing},
            {"capacity", result.capacity},
            {"placement", result.placement},
            {"layers", result.layers},
            {"tokens", result.tokens},
            {"steps", result.steps},
            {"steps_before", result.steps_before},
            {"seed", result.seed}};
  json["loads"] = text_or_null(result.loads);
  json["saved"] = {{"placement", text_or_null(result.saved_placement)},
                   {"loads", text_or_null(result.saved_loads)},
                   {"timeline", text_or_null(result.timeline)}};
  json["exchange"] = exchange_json(result);
  json["overlap"] = {{"mode", result.overlap}, {"lanes", result.lanes}};
  json["output_sha256"] = result.output_sha256;
  json["ledger"] = ledger_json(result);
  json["overflow"] = overflow_json(result);
  json["time_s"] = time_json(result);
  json["waits"] = waits_json(result);
  json["slow_rank"] = slow_rank_json(result);
  json["throughput"] = {{"tokens_per_s", result.tokens_per_s()},
                        {"expert_flops_per_s", result.expert_flops_per_s()}};
  json["imbalance"] = {{"first", mean(result.first_imbalance)},
                       {"last", mean(result.last_imbalance)},
                       {"per_layer", result.last_imbalance}};
  json["migration"] = migration_json(result);
  json["alarms"] = alarms_json(result);
  json["memory"] = memory_json(result);
  json["verify"] = verify_json(result);
  constexpr int indent = 2;  // names of files may hold what is no UTF-8
  return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace moewe
