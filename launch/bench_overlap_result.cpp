#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "benchmarks/harness.hpp"
#include "launch/bench_figures.hpp"
#include "launch/bench_overlap.hpp"
#include "launch/human.hpp"
#include "launch/run_result.hpp"

namespace moewe {
namespace {

using Json = nlohmann::ordered_json;

/// Round by round: how many times as fast as with nothing done while rows travel.
std::vector<double> gains(const OverlapCase& c, const bench::ContestResult& contestant) {
  return bench::ratios(c.contestants.front().whole, contestant.whole);
}

Json contestant_json(const OverlapCase& c, const bench::ContestResult& contestant) {
  const bench::Spread gain = bench::spread_of(gains(c, contestant));
  return {{"name", contestant.name},
          {"step_s", percentiles_json(contestant.whole)},
          {"dispatch_s", percentiles_json(contestant.dispatch)},
          {"combine_s", percentiles_json(contestant.combine)},
          {"gain_over_off", {{"p10", gain.p10}, {"p50", gain.median}, {"p90", gain.p90}}},
          {"rounds", contestant.whole.size()},
          {"correct", contestant.is_correct}};
}

Json case_json(const OverlapCase& c) {
  Json json{{"tokens", c.tokens_per_rank},
            {"model", c.model},
            {"hidden", c.layer.expert.hidden},
            {"intermediate", c.layer.expert.intermediate},
            {"shared_intermediate", c.layer.shared_intermediate},
            {"experts", c.layer.num_experts},
            {"topk", c.layer.router.top_k},
            {"ranks", c.ranks},
            {"nodes", c.nodes},
            {"threads", c.threads},
            {"dtype", c.dtype},
            {"routing", c.routing},
            {"path", c.path},
            {"carrier", c.carrier},
            {"ping_pong_s", {{"before", c.before.ping_pong_s}, {"after", c.after.ping_pong_s}}}};
  for (const auto& contestant : c.contestants) json["contestants"].push_back(contestant_json(c, contestant));
  return json;
}

}  // namespace

std::string overlap_json(const std::vector<OverlapCase>& cases) {
  Json json{{"format", 1}, {"cases", Json::array()}};
  for (const OverlapCase& c : cases) json["cases"].push_back(case_json(c));
  return json.dump(2) + "\n";
}

std::string overlap_text(const OverlapCase& c) {
  const LayerSpec& layer = c.layer;
  std::string text = fmt::format(
      "{} tokens per rank, {}: {} x {} {}, top-{} of {} experts, shared {}, {} ranks on {} node{}, {}, path "
      "{}\n"
      "  {:<14}{:>11}{:>11}{:>11}{:>11}{:>11}  {:>18}\n",
      c.tokens_per_rank, c.model, layer.expert.hidden, layer.expert.intermediate, c.dtype, layer.router.top_k,
      layer.num_experts, layer.shared_intermediate, c.ranks, c.nodes, c.nodes == 1 ? "" : "s", c.routing,
      c.path, "overlap", "p50", "p90", "p99", "dispatch", "combine", "off / it");
  for (const bench::ContestResult& times : c.contestants) {
    text +=
        fmt::format("  {:<14}{:>11}{:>11}{:>11}{:>11}{:>11}  {:>18}{}\n", times.name,
                    human(percentile(times.whole, 0.5), "s"), human(percentile(times.whole, 0.9), "s"),
                    human(percentile(times.whole, 0.99), "s"), human(percentile(times.dispatch, 0.5), "s"),
                    human(percentile(times.combine, 0.5), "s"),
                    ratio_text(c.contestants.front().whole, times.whole), times.is_correct ? "" : "  WRONG");
  }
  return text;
}

}  // namespace moewe
