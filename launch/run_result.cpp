#include "launch/run_result.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

namespace moewe {
namespace {

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

double per_second(double amount, double seconds) { return seconds > 0 ? amount / seconds : 0; }

double tokens_per_s(const RunResult& result) {
  return per_second(static_cast<double>(result.tokens) * static_cast<double>(result.steps),
                    sum(result.step_times));
}

/// "12.3 k", "4.56 M": three digits and a prefix.
std::string human(double value, const char* unit) {
  const std::array<const char*, 5> prefixes{"", "k", "M", "G", "T"};
  std::size_t prefix = 0;
  while (std::abs(value) >= 1000 && prefix + 1 < prefixes.size()) {
    value /= 1000;
    ++prefix;
  }
  return fmt::format("{:.3g} {}{}", value, prefixes[prefix], unit);
}

std::string human_time(double seconds) {
  return seconds < 1 ? fmt::format("{:.3g} ms", seconds * 1e3) : fmt::format("{:.3g} s", seconds);
}

/// "direct (6), message (6)": how many ordered pairs of different ranks take which path.
std::string path_counts(const RunResult& result) {
  std::map<std::string, std::size_t> counts;
  for (const PairPath& pair : result.exchange) {
    if (pair.from != pair.to) ++counts[pair.path];
  }
  std::string text;
  for (const auto& [path, count] : counts)
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", path, count);
  return text.empty() ? "none: one rank" : text + " pairs of ranks";
}

std::string reference_text(const RunResult& result) {
  const ReferenceResult& reference = result.reference;
  if (reference.compared_outputs == 0 && reference.compared_ids == 0) return "nothing to compare with";
  std::string text = fmt::format("max |error| / RMS {:.2e} over {} rows (allowed {:.0e})",
                                 reference.relative_err(), reference.compared_outputs, f32_tolerance);
  if (reference.compared_ids > 0) {
    text += fmt::format("; expert ids differ in {} of {}", reference.mismatched, reference.compared_ids);
  }
  if (reference.near_ties > 0) text += fmt::format(", near ties in {}", reference.near_ties);
  return text;
}

}  // namespace

std::int64_t RunResult::computed() const {
  return std::accumulate(computed_per_rank.begin(), computed_per_rank.end(), std::int64_t{0});
}

bool RunResult::passed() const {
  return lost() == 0 && reference.mismatched == 0 && reference.not_finite == 0 &&
         reference.relative_err() <= f32_tolerance;
}

double percentile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  const auto rank = static_cast<std::size_t>(std::ceil(p * static_cast<double>(values.size())));
  const auto nth = values.begin() + static_cast<std::ptrdiff_t>(std::max<std::size_t>(rank, 1) - 1);
  std::nth_element(values.begin(), nth, values.end());
  return *nth;
}

double mean(const std::vector<double>& values) {
  return values.empty() ? 0 : sum(values) / static_cast<double>(values.size());
}

std::string to_json(const RunResult& result) {
  nlohmann::ordered_json json;
  json["format"] = 1;
  json["ranks"] = result.ranks;
  json["nodes"] = result.nodes;
  json["device"] = "cpu";
  json["isa"] = result.isa;
  json["matmul_rows"] = result.matmul_rows;
  json["threads"] = result.threads;
  json["model"] = result.model;
  json["dtype"] = "f32";
  json["layers"] = result.layers;
  json["tokens"] = result.tokens;
  json["steps"] = result.steps;
  json["seed"] = result.seed;
  json["exchange"] = nlohmann::ordered_json::array();
  for (const PairPath& pair : result.exchange) {
    json["exchange"].push_back({{"from", pair.from},
                                {"to", pair.to},
                                {"path", pair.path},
                                {"carrier", pair.carrier},
                                {"reason", pair.reason}});
  }
  json["output_sha256"] = result.output_sha256;
  json["ledger"] = {{"assigned", result.assigned},
                    {"computed", result.computed()},
                    {"computed_per_rank", result.computed_per_rank},
                    {"dropped", nlohmann::ordered_json::object()},
                    {"lost", result.lost()}};
  json["time_s"]["step"] = {{"p50", percentile(result.step_times, 0.50)},
                            {"p90", percentile(result.step_times, 0.90)},
                            {"p99", percentile(result.step_times, 0.99)},
                            {"max", percentile(result.step_times, 1.00)}};
  for (std::size_t p = 0; p < num_phases; ++p) json["time_s"][phase_names[p]] = result.phase_times[p];
  json["throughput"] = {{"tokens_per_s", tokens_per_s(result)},
                        {"expert_flops_per_s", per_second(result.expert_flops, sum(result.step_times))}};
  json["imbalance"] = {{"first", mean(result.first_imbalance)},
                       {"last", mean(result.last_imbalance)},
                       {"per_layer", result.last_imbalance}};
  json["memory"] = {
      {"peak_bytes", *std::max_element(result.peak_bytes_per_rank.begin(), result.peak_bytes_per_rank.end())},
      {"peak_bytes_per_rank", result.peak_bytes_per_rank}};
  json["verify"] = {{"level", result.verify_level},
                    {"passed", result.passed()},
                    {"compared_rows", result.reference.compared_outputs},
                    {"compared_ids", result.reference.compared_ids},
                    {"mismatched", result.reference.mismatched},
                    {"near_ties", result.reference.near_ties},
                    {"not_finite", result.reference.not_finite},
                    {"max_abs_err", result.reference.max_abs_err},
                    {"max_abs_err_over_rms", result.reference.relative_err()},
                    {"max_weight_err", result.reference.max_weight_err}};
  return json.dump(2) + "\n";
}

std::string to_text(const RunResult& result) {
  const double step = percentile(result.step_times, 0.5);
  std::string phases;
  for (std::size_t p = 0; p < num_phases; ++p) {
    phases +=
        fmt::format("{}{} {}", phases.empty() ? "" : ", ", phase_names[p], human_time(result.phase_times[p]));
  }
  std::string text;
  const auto line = [&](const char* what, const std::string& value) {
    text += fmt::format("  {:<12}{}\n", what, value);
  };
  line("model", fmt::format("{}, {} layers, {} tokens per step, {} steps", result.model, result.layers.size(),
                            result.tokens, result.steps));
  line("ranks",
       fmt::format("{} on {} node{}, {} thread{} each, {}", result.ranks, result.nodes,
                   result.nodes == 1 ? "" : "s", result.threads, result.threads == 1 ? "" : "s", result.isa));
  line("paths", path_counts(result));
  line("step",
       fmt::format("{} median, {} p99", human_time(step), human_time(percentile(result.step_times, 0.99))));
  line("phases", phases);
  line("throughput", fmt::format("{}, experts {}", human(tokens_per_s(result), "tokens/s"),
                                 human(per_second(result.expert_flops, sum(result.step_times)), "FLOP/s")));
  line("imbalance", fmt::format("{:.3f} first step, {:.3f} last (1 is perfect)", mean(result.first_imbalance),
                                mean(result.last_imbalance)));
  line("memory", fmt::format("{} in the largest rank's buffers",
                             human(static_cast<double>(*std::max_element(result.peak_bytes_per_rank.begin(),
                                                                         result.peak_bytes_per_rank.end())),
                                   "B")));
  line("ledger",
       fmt::format("{} assigned, {} computed, {} lost", result.assigned, result.computed(), result.lost()));
  line("reference", reference_text(result));
  line("sha256", result.output_sha256);
  line("result", result.passed() ? "passed" : "FAILED");
  return text;
}

}  // namespace moewe
