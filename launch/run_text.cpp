#include <array>
#include <cmath>
#include <fmt/format.h>
#include <map>

#include "launch/run_result.hpp"

namespace moewe {
namespace {

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

/// "1 layer", "2 layers".
std::string count(std::size_t number, const char* noun) {
  return fmt::format("{} {}{}", number, noun, number == 1 ? "" : "s");
}

/// "direct for 6 pairs of ranks, message for 6": ordered pairs of different ranks.
std::string path_counts(const RunResult& result) {
  std::map<std::string, std::size_t> counts;
  for (const PairPath& pair : result.exchange) {
    if (pair.from != pair.to) ++counts[pair.path];
  }
  std::string text;
  for (const auto& [path, pairs] : counts) {
    text += text.empty() ? fmt::format("{} for {} of ranks", path, count(pairs, "pair"))
                         : fmt::format(", {} for {}", path, pairs);
  }
  return text.empty() ? "none: one rank" : text;
}

/// What "passed" stands for.
std::string result_text(const RunResult& result) {
  if (!result.passed()) return "FAILED";
  const bool is_compared = result.reference.compared_outputs > 0;
  const bool has_ledger = result.verify_level != "off";
  if (is_compared && has_ledger) return "passed";
  if (is_compared) return "passed, without the ledger";
  return has_ledger ? "passed: the ledger balances; no reference to compare with" : "done, not verified";
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
  line("model", fmt::format("{}, {}, {} per step, {}", result.model, count(result.layers.size(), "layer"),
                            count(result.tokens, "token"), count(result.steps, "step")));
  line("ranks", fmt::format("{} on {}, {} each, {}", result.ranks, count(result.nodes, "node"),
                            count(result.threads, "thread"), result.isa));
  line("paths", path_counts(result));
  line("step",
       fmt::format("{} median, {} p99", human_time(step), human_time(percentile(result.step_times, 0.99))));
  line("phases", phases + " (per step, slowest rank of each)");
  line("throughput", fmt::format("{}, experts {}", human(result.tokens_per_s(), "tokens/s"),
                                 human(result.expert_flops_per_s(), "FLOP/s")));
  line("imbalance", fmt::format("{:.3f} first step, {:.3f} last (1 is perfect)", mean(result.first_imbalance),
                                mean(result.last_imbalance)));
  line("memory",
       fmt::format("{} in the largest rank's buffers", human(static_cast<double>(result.peak_bytes()), "B")));
  line("ledger",
       fmt::format("{} assigned, {} computed, {} lost", result.assigned, result.computed(), result.lost()));
  line("reference", reference_text(result));
  line("sha256", result.output_sha256);
  line("result", result_text(result));
  return text;
}

}  // namespace moewe
