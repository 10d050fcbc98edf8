#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <map>
#include <numeric>

#include "launch/human.hpp"
#include "launch/run_result.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

/// "1 layer", "2 layers".
std::string count(std::size_t number, const char* noun) {
  return fmt::format("{} {}{}", number, noun, number == 1 ? "" : "s");
}

std::string way_of(const PairPath& pair) {
  if (pair.path != "message" && pair.path != "two-level") return pair.path;
  return fmt::format("{} over {}", pair.path, pair.carrier);
}

/// For each path between ranks that has one of its own, the reason of its first pair; and that of the
/// carrier.
std::string path_reasons(const RunResult& result) {
  std::map<std::string, std::string> reasons;
  for (const PairPath& pair : result.exchange) {
    if (pair.from == pair.to) continue;
    reasons.emplace(pair.path, pair.reason);
    if (pair.carrier != "memory") reasons.emplace("carrier", pair.carrier_reason);
  }
  std::string text;
  for (const auto& [what, reason] : reasons)
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", what, reason);
  return text;
}

/// "direct for 6 pairs of ranks, message over mpi for 6": ordered pairs of different ranks.
std::string path_counts(const RunResult& result) {
  std::map<std::string, std::size_t> counts;
  for (const PairPath& pair : result.exchange) {
    if (pair.from != pair.to) ++counts[way_of(pair)];
  }
  std::string text;
  for (const auto& [way, pairs] : counts) {
    text += text.empty() ? fmt::format("{} for {} of ranks", way, count(pairs, "pair"))
                         : fmt::format(", {} for {}", way, pairs);
  }
  return text.empty() ? "none: one rank" : text;
}

/// What "passed" stands for.
std::string result_text(const RunResult& result) {
  if (!result.passed()) return "FAILED: " + result.failures();
  const bool is_compared = result.reference.compared_outputs > 0;
  const bool has_ledger = result.verify_level != "off";
  if (is_compared && has_ledger) return "passed";
  if (is_compared) return "passed, without the ledger";
  if (result.verify_level == "audit")
    return "passed: the ledger balances, and all checksums are right; no reference to compare with";
  return has_ledger ? "passed: the ledger balances; no reference to compare with" : "done, not verified";
}

std::string threads_text(const RunResult& result) {
  const std::string threads = count(result.threads, "thread");
  return result.threads <= result.cores ? threads : threads + " on " + count(result.cores, "core");
}

std::string ledger_text(const RunResult& result) {
  std::string text =
      fmt::format("{} assigned, {} computed, {} lost", result.assigned, result.computed(), result.lost());
  if (result.overflow.empty()) return text;
  return text + fmt::format(", {} dropped over capacity, {} without room, {} rerouted",
                            result.dropped_over_capacity(), result.dropped_without_room(), result.rerouted());
}

std::string memory_text(const RunResult& result) {
  const auto bytes = [](const std::vector<std::int64_t>& per_rank) {
    return human(static_cast<double>(RunResult::most(per_rank)), "B");
  };
  std::string text = fmt::format("{} counted of {} planned, {} in the process (largest rank of each)",
                                 bytes(result.peak_bytes_per_rank), bytes(result.planned_bytes_per_rank),
                                 bytes(result.process_bytes_per_rank));
  if (result.most_rounds > 1) text += fmt::format("; up to {} rounds a step", result.most_rounds);
  return text;
}

std::string reference_text(const RunResult& result) {
  const ReferenceResult& reference = result.reference;
  if (reference.compared_outputs == 0 && reference.compared_ids == 0) return "nothing to compare with";
  std::string text =
      fmt::format("max |error| / RMS {:.2e} over {} rows (allowed {:.0e}), RMS error / RMS {:.2e} ({:.0e})",
                  reference.relative_err(), reference.compared_outputs, result.tolerance.max_err,
                  reference.relative_rms_err(), result.tolerance.rms_err);
  if (reference.compared_ids > 0) {
    text += fmt::format("; expert ids differ in {} of {}", reference.mismatched, reference.compared_ids);
  }
  if (reference.near_ties > 0) text += fmt::format(", near ties in {}", reference.near_ties);
  return text;
}

std::string describe_migration(const RunResult& result) {
  const RebalanceTotals& totals = result.migration;
  const double steps = std::accumulate(result.step_times.begin(), result.step_times.end(), 0.0);
  constexpr double percent = 100;
  return fmt::format(
      "{}: {}, {}, {}{}; in each step at most {} from a rank ({}); deciding and beginning took {}, "
      "{:.2f} % of the steps",
      result.rebalance, count(totals.epochs, "epoch"), count(totals.moves, "move"),
      human(static_cast<double>(totals.bytes), "B"),
      totals.cancelled == 0 ? "" : fmt::format(", {} given up", totals.cancelled),
      human(static_cast<double>(totals.budget_bytes), "B"), totals.budget_reason, human_time(totals.stall_s),
      steps > 0 ? percent * totals.stall_s / steps : 0.0);
}

/// The latest decisions, and what moves have gained.
std::vector<std::string> move_lines(const RunResult& result) {
  constexpr std::size_t most_lines = 6;
  const std::vector<std::string>& log = result.migration.log;
  const std::size_t first = log.size() - std::min(log.size(), most_lines);
  std::vector<std::string> lines(log.begin() + static_cast<std::ptrdiff_t>(first), log.end());
  if (first > 0) lines.push_back(fmt::format("and {} before them, in --json", count(first, "line")));
  return lines;
}

std::string start_text(const RunResult& result) {
  const std::string text = "placement " + printable(result.placement);
  return result.loads.empty() ? text : text + "; knows the loads of " + printable(result.loads);
}

std::string saved_text(const RunResult& result) {
  std::vector<std::string> saved;
  if (!result.saved_placement.empty()) saved.push_back("placement in " + printable(result.saved_placement));
  if (!result.saved_loads.empty()) saved.push_back("loads in " + printable(result.saved_loads));
  if (!result.timeline.empty()) saved.push_back("timeline in " + printable(result.timeline));
  return fmt::format("{}", fmt::join(saved, ", "));
}

std::string device_text(const RunResult& result) {
  const std::string name = result.device_name.empty() ? "" : fmt::format(" ({})", result.device_name);
  const std::string mode = result.device_mode.empty()      ? ""
                           : result.device_mode == "graph" ? ", steps as graphs"
                                                           : ", eager steps";
  return fmt::format("{}{}: {}{}", result.device, name, result.device_reason, mode);
}

/// A graph's parts are not told apart.
std::string phases_text(const RunResult& result) {
  if (result.device_mode == "graph") return "of graphs are not told apart";
  std::string phases;
  for (std::size_t p = 0; p < num_phases; ++p) {
    phases +=
        fmt::format("{}{} {}", phases.empty() ? "" : ", ", phase_names[p], human_time(result.phase_times[p]));
  }
  return phases + " (per step, slowest rank of each)";
}

}  // namespace

std::string RunResult::failures() const {
  std::vector<std::string> all;
  const auto add_above = [&](const char* what, double value, double allowed) {
    if (!(value <= allowed)) all.push_back(fmt::format("{} {:.2e} is above {:.0e}", what, value, allowed));
  };
  if (lost() != 0) all.push_back(fmt::format("{} assignments are lost", lost()));
  if (reference.not_finite_results > 0) {
    all.push_back(fmt::format("{} values of the results are not finite, first in layer {}",
                              reference.not_finite_results, reference.first_not_finite_layer));
  } else if (reference.not_finite > 0) {
    all.push_back(fmt::format("{} recorded values are not finite", reference.not_finite));
  }
  if (reference.mismatched > 0) {
    all.push_back(fmt::format("expert ids of {} rows are not the recorded ones", reference.mismatched));
  }
  add_above("max |error| / RMS", reference.relative_err(), tolerance.max_err);
  add_above("RMS error / RMS", reference.relative_rms_err(), tolerance.rms_err);
  add_above("the largest error of a weight", reference.max_weight_err, tolerance.max_weight_err);
  return fmt::format("{}", fmt::join(all, "; "));
}

std::string to_text(const RunResult& result) {
  const double step = percentile(result.step_times, 0.5);
  std::string text;
  const auto line = [&](const char* what, const std::string& value) {
    text += fmt::format("  {:<12}{}\n", what, value);
  };
  line("model", fmt::format("{}, {}, {}, {} per step, {}", result.model, result.dtype,
                            count(result.layers.size(), "layer"), count(result.tokens, "token"),
                            count(result.steps, "step")));
  line("dispatch",
       fmt::format("routing {}, capacity {}, split {}, combine {}, overlap {}", printable(result.routing),
                   result.capacity, result.split, result.combine, result.overlap));
  line("begins with", start_text(result));
  line("ranks", fmt::format("{} on {}, {} each, {}", result.ranks, count(result.nodes, "node"),
                            threads_text(result), result.isa));
  line("device", device_text(result));
  if (!result.expert_matmuls.empty()) line("experts", result.expert_matmuls);
  line("paths", path_counts(result));
  if (result.ranks > 1) line("because", path_reasons(result));
  if (result.steps_before > 0) {
    line("resumed", fmt::format("after step {}: times are of the {} since", result.steps_before,
                                count(result.step_times.size(), "step")));
  }
  line("step",
       fmt::format("{} median, {} p99", human_time(step), human_time(percentile(result.step_times, 0.99))));
  line("phases", phases_text(result));
  if (result.slow_rank) line("waits", describe(*result.slow_rank, result.step_times.size()));
  line("throughput", fmt::format("{}, experts {}", human(result.tokens_per_s(), "tokens/s"),
                                 human(result.expert_flops_per_s(), "FLOP/s")));
  if (result.rebalance != "off") line("migration", describe_migration(result));
  for (const std::string& move : move_lines(result)) line("", move);
  if (!result.alarms.empty()) line("alarms", count(result.alarms.size(), "warning") + " about loads, above");
  line("imbalance", fmt::format("{:.3f} first step, {:.3f} last (1 is perfect)", mean(result.first_imbalance),
                                mean(result.last_imbalance)));
  if (const std::string saved = saved_text(result); !saved.empty()) line("saved", saved);
  line("memory", memory_text(result));
  line("ledger", ledger_text(result));
  line("reference", reference_text(result));
  line("sha256", result.output_sha256);
  line("result", result_text(result));
  return text;
}

}  // namespace moewe
