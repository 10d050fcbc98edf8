#include <nlohmann/json.hpp>

#include "launch/run_result.hpp"

namespace moewe {
namespace {

using Json = nlohmann::ordered_json;

Json exchange_json(const RunResult& result) {
  Json pairs = Json::array();
  for (const PairPath& pair : result.exchange) {
    pairs.push_back({{"from", pair.from},
                     {"to", pair.to},
                     {"path", pair.path},
                     {"carrier", pair.carrier},
                     {"reason", pair.reason}});
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

Json verify_json(const RunResult& result) {
  const ReferenceResult& reference = result.reference;
  return {{"level", result.verify_level},
          {"passed", result.passed()},
          {"compared_rows", reference.compared_outputs},
          {"compared_ids", reference.compared_ids},
          {"mismatched", reference.mismatched},
          {"near_ties", reference.near_ties},
          {"not_finite", reference.not_finite},
          {"max_abs_err", reference.max_abs_err},
          {"max_abs_err_over_rms", reference.relative_err()},
          {"max_weight_err", reference.max_weight_err}};
}

}  // namespace

std::string to_json(const RunResult& result) {
  Json json{{"format", 1},
            {"ranks", result.ranks},
            {"nodes", result.nodes},
            {"device", "cpu"},
            {"isa", result.isa},
            {"matmul_rows", result.matmul_rows},
            {"threads", result.threads},
            {"model", result.model},
            {"dtype", "f32"},
            {"layers", result.layers},
            {"tokens", result.tokens},
            {"steps", result.steps},
            {"seed", result.seed}};
  json["exchange"] = exchange_json(result);
  json["output_sha256"] = result.output_sha256;
  json["ledger"] = {{"assigned", result.assigned},
                    {"computed", result.computed()},
                    {"computed_per_rank", result.computed_per_rank},
                    {"dropped", Json::object()},
                    {"lost", result.lost()}};
  json["time_s"] = time_json(result);
  json["throughput"] = {{"tokens_per_s", result.tokens_per_s()},
                        {"expert_flops_per_s", result.expert_flops_per_s()}};
  json["imbalance"] = {{"first", mean(result.first_imbalance)},
                       {"last", mean(result.last_imbalance)},
                       {"per_layer", result.last_imbalance}};
  json["memory"] = {{"peak_bytes", result.peak_bytes()}, {"peak_bytes_per_rank", result.peak_bytes_per_rank}};
  json["verify"] = verify_json(result);
  return json.dump(2) + "\n";
}

}  // namespace moewe
