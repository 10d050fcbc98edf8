#include "launch/bench_result.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "benchmarks/harness.hpp"
#include "launch/bench_figures.hpp"
#include "launch/human.hpp"
#include "launch/run_result.hpp"

namespace moewe {
namespace {

using Json = nlohmann::ordered_json;

Json contestant_json(const BenchContestant& contestant, const BenchChoice& choice) {
  const bench::ContestResult& times = contestant.times;
  return {{"name", times.name},
          {"roundtrip_s", percentiles_json(times.whole)},
          {"dispatch_s", percentiles_json(times.dispatch)},
          {"combine_s", percentiles_json(times.combine)},
          {"chained_s", percentiles_json(times.chained)},
          {"bytes_on_wire", contestant.bytes_on_wire},
          {"rounds", times.whole.size()},
          {"correct", times.is_correct},
          {"chosen", times.name == choice.contestant()}};
}

Json choice_json(const BenchChoice& choice) {
  return {{"path", choice.path},
          {"carrier", choice.carrier},
          {"reason", choice.reason},
          {"carrier_reason", choice.carrier_reason}};
}

Json case_json(const BenchCase& c) {
  Json json{{"tokens", c.tokens_per_rank},
            {"hidden", c.hidden},
            {"topk", c.top_k},
            {"experts", c.experts},
            {"ranks", c.ranks},
            {"nodes", c.nodes},
            {"dtype", c.dtype},
            {"routing", c.routing},
            {"combine", c.combine},
            {"state", c.state()},
            {"ping_pong_s", {{"before", c.before.ping_pong_s}, {"after", c.after.ping_pong_s}}},
            {"limit_s", percentile(c.limit_s, 0.5)},
            {"limit_again_over_limit", percentiles_json(bench::ratios(c.limit_again_s, c.limit_s))}};
  json["choice"] = choice_json(c.choice);
  for (const BenchContestant& contestant : c.contestants)
    json["contestants"].push_back(contestant_json(contestant, c.choice));
  return json;
}

const BenchContestant* find_classic(const BenchCase& c) {
  const auto found = std::find_if(c.contestants.begin(), c.contestants.end(),
                                  [](const auto& contestant) { return contestant.times.name == "classic"; });
  return found == c.contestants.end() ? nullptr : &*found;
}

std::string choice_text(const BenchChoice& choice) {
  const std::string path = fmt::format("  moewe run would choose {} ({})", choice.path, choice.reason);
  if (choice.path == "direct") return path + "\n";
  return path + fmt::format(" over {} ({})\n", choice.carrier, choice.carrier_reason);
}

}  // namespace

bool BenchCase::is_correct() const {
  return std::all_of(contestants.begin(), contestants.end(),
                     [](const BenchContestant& contestant) { return contestant.times.is_correct; });
}

std::string BenchCase::state() const { return before.name() == after.name() ? before.name() : "mixed"; }

std::string bench_json(const std::vector<BenchCase>& cases) {
  Json json{{"format", 1}, {"cases", Json::array()}};
  for (const BenchCase& c : cases) json["cases"].push_back(case_json(c));
  return json.dump(2) + "\n";
}

std::string bench_csv(const std::vector<BenchCase>& cases) {
  std::string csv =
      "tokens,hidden,topk,experts,ranks,nodes,dtype,routing,combine,state,limit_s,contestant,roundtrip_p50_s,"
      "roundtrip_p90_s,roundtrip_p99_s,dispatch_p50_s,combine_p50_s,chained_p50_s,bytes_on_wire,correct\n";
  for (const BenchCase& c : cases) {
    for (const auto& [times, bytes_on_wire] : c.contestants) {
      csv += fmt::format(
          "{},{},{},{},{},{},{},{},{},{},{:.9f},{},{:.9f},{:.9f},{:.9f},{:.9f},{:.9f},{:.9f},{},{}\n",
          c.tokens_per_rank, c.hidden, c.top_k, c.experts, c.ranks, c.nodes, c.dtype, c.routing, c.combine,
          c.state(), percentile(c.limit_s, 0.5), times.name, percentile(times.whole, 0.5),
          percentile(times.whole, 0.9), percentile(times.whole, 0.99), percentile(times.dispatch, 0.5),
          percentile(times.combine, 0.5), percentile(times.chained, 0.5), bytes_on_wire, times.is_correct);
    }
  }
  return csv;
}

std::string bench_matrix(const BenchCase& bench_case) {
  std::string text;
  for (const auto& row : bench_case.dispatch) text += fmt::format("{}\n", fmt::join(row, " "));
  return text;
}

std::string bench_text(const BenchCase& c) {
  std::string text = fmt::format(
      "{} tokens per rank x {} {}, top-{} of {} experts, {} ranks on {} node{}, {}, {}\n"
      "cores {} (one way {} before, {} after); limit {}, itself again {}\n"
      "  {:<14}{:>11}{:>11}{:>11}{:>11}  {:>18}  {:>18}  {:>11}  {:>18}\n",
      c.tokens_per_rank, c.hidden, c.dtype, c.top_k, c.experts, c.ranks, c.nodes, c.nodes == 1 ? "" : "s",
      c.routing, c.combine, c.state(), human(c.before.ping_pong_s, "s"), human(c.after.ping_pong_s, "s"),
      human(percentile(c.limit_s, 0.5), "s"), ratio_text(c.limit_again_s, c.limit_s), "contestant", "p50",
      "p90", "dispatch", "combine", "over limit", "classic / it", "in a row", "classic / it");
  const BenchContestant* classic = find_classic(c);
  for (const auto& [times, bytes_on_wire] : c.contestants) {
    text +=
        fmt::format("  {:<14}{:>11}{:>11}{:>11}{:>11}  {:>18}  {:>18}  {:>11}  {:>18}{}{}\n", times.name,
                    human(percentile(times.whole, 0.5), "s"), human(percentile(times.whole, 0.9), "s"),
                    human(percentile(times.dispatch, 0.5), "s"), human(percentile(times.combine, 0.5), "s"),
                    ratio_text(times.whole, c.limit_s),
                    classic == nullptr ? "" : ratio_text(classic->times.whole, times.whole),
                    human(percentile(times.chained, 0.5), "s"),
                    classic == nullptr ? "" : ratio_text(classic->times.chained, times.chained),
                    times.name == c.choice.contestant() ? "  chosen" : "", times.is_correct ? "" : "  WRONG");
  }
  return text + choice_text(c.choice);
}

}  // namespace moewe
