#include "launch/place_score.hpp"

#include <algorithm>
#include <numeric>

#include "placement/bounds.hpp"
#include "placement/evaluation.hpp"
#include "placement/plan_groups.hpp"
#include "placement/source_split.hpp"
#include "placement/split.hpp"
#include "placement/token_reach.hpp"

namespace moewe {
namespace {

constexpr double picoseconds = 1e12;  // in a second

double per(std::int64_t count, std::int64_t whole) {
  return static_cast<double>(count) / static_cast<double>(whole);
}

}  // namespace

LayerJudge::LayerJudge(const PlaceProblem& problem, std::size_t layer)
    : problem_(problem),
      layer_(layer),
      total_(std::accumulate(loads().begin(), loads().end(), std::int64_t{0})),
      mean_(static_cast<double>(total_) / static_cast<double>(problem.options().ranks)) {
  const std::vector<std::size_t> slots(problem_.options().ranks, problem_.options().slots_per_rank);
  bound_ = static_cast<double>(load_bounds(loads(), slots).largest()) / mean_;
  if (problem_.costs() != nullptr) step_counts_ = problem_.step_counts(layer_);
  if (problem_.tokens() != nullptr) choices_ = problem_.tokens()->judged(layer_);
}

LayerScore LayerJudge::score(const Placement& placement) const {
  LayerScore score;
  score.layer = layer_;
  score.equal = equal_split_imbalance(loads(), placement);
  score.optimal = static_cast<double>(split_loads(placement, loads()).largest) / mean_;
  score.bound = bound_;
  if (!problem_.speeds().are_equal()) score.in_time = imbalance_in_time(placement);
  score.duplicates = count_duplicates(placement);
  if (const Placement* from = problem_.from(layer_)) score.arrivals = count_arrivals(*from, placement);
  if (problem_.costs() != nullptr) predict_time(placement, score);
  if (choices_) count_tokens(placement, score);
  if (!problem_.options().has_homes()) return score;
  const auto homes = home_nodes(placement, problem_.topology(), problem_.options().groups);
  score.foreign = count_foreign(placement, problem_.topology(), homes);
  return score;
}

double LayerJudge::imbalance_in_time(const Placement& placement) const {
  return per(least_time(placement, loads(), problem_.speeds()), problem_.speeds().mean_time(total_));
}

void LayerJudge::predict_time(const Placement& placement, LayerScore& score) const {
  const SourceSplit split = split_by_source(placement, problem_.topology(), step_counts_);
  const LayerTime time = layer_time(placement, problem_.topology(), split, *problem_.costs());
  score.step_s = static_cast<double>(time.longest) / picoseconds;
  score.nodes_per_token = per(time.node_visits, token_parts * std::max<std::int64_t>(time.num_tokens, 1));
}

void LayerJudge::count_tokens(const Placement& placement, LayerScore& score) const {
  const TokenReach reach = count_reach(placement, problem_.topology(), choices_->experts, choices_->top_k);
  score.nodes_per_token = per(reach.nodes, reach.tokens);
  score.ranks_per_token = per(reach.ranks, reach.tokens);
}

}  // namespace moewe
