#include "launch/place_problem.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "comm/error.hpp"
#include "launch/cost_file.hpp"
#include "launch/load_file.hpp"
#include "placement/eplb.hpp"
#include "placement/loads.hpp"
#include "placement/plan_affinity.hpp"
#include "placement/plan_groups.hpp"
#include "placement/plan_incremental.hpp"
#include "placement/plan_robust.hpp"
#include "placement/split.hpp"

namespace moewe {
namespace {

Topology topology_of(std::size_t num_ranks, std::size_t num_nodes) {
  std::vector<std::uint64_t> labels;
  for (std::size_t rank = 0; rank < num_ranks; ++rank) labels.push_back(rank / (num_ranks / num_nodes));
  return Topology(labels);
}

bool is_loaded(const std::vector<std::int64_t>& loads) {
  return std::any_of(loads.begin(), loads.end(), [](std::int64_t load) { return load > 0; });
}

/// Throws unless `other`, which is in `file`, is of the same layers and experts as `one`.
void require_same_shape(const LoadHistory& one, const LoadHistory& other, const std::string& file) {
  if (one.num_layers() == other.num_layers() && one.num_experts() == other.num_experts()) return;
  throw InvalidInput(fmt::format("{}: has {} layers of {} experts, but --loads has {} of {}", file,
                                 other.num_layers(), other.num_experts(), one.num_layers(),
                                 one.num_experts()));
}

}  // namespace

PlaceProblem::PlaceProblem(const PlaceOptions& options)
    : options_(options),
      space_(SlotSpace::equal(topology_of(options.ranks, options.nodes), options.slots_per_rank)),
      speeds_({}, options.ranks),
      loads_(read_loads(options.loads, options.experts)) {
  const std::size_t num_slots = space_.num_slots();
  if (num_slots < num_experts()) {
    throw InvalidInput(fmt::format("{} experts do not fit into {} ranks with {} slots each", num_experts(),
                                   options.ranks, options.slots_per_rank));
  }
  if (num_experts() % options.groups != 0) {
    throw InvalidInput(fmt::format("--groups {} must divide the {} experts", options.groups, num_experts()));
  }
  if (options.score) {
    score_ = read_loads(*options.score, num_experts());
    require_same_shape(loads_, *score_, options.score->string());
  }
  for (std::size_t layer = 0; layer < num_layers(); ++layer) {
    if (is_loaded(loads(layer)) && is_loaded(score(layer))) loaded_.push_back(layer);
  }
  if (loaded_.empty()) throw InvalidInput(options.loads.string() + ": no layer has any load");
  if (options.from) read_from();
  if (options.co_activation) tokens_.emplace(options.loads, options.score, num_experts());
  if (!options.cost) return;
  costs_ = read_costs(*options.cost, options.ranks);
  space_.slowness = costs_->slowness;
  speeds_ = RankSpeeds(space_.slowness, options.ranks);
}

void PlaceProblem::read_from() {
  from_ = read_placement_map(*options_.from, {options_.ranks, num_experts()});
  for (const std::size_t layer : loaded_) {
    const auto found = from_.find(layer);
    if (found == from_.end())
      throw InvalidInput(fmt::format("{}: does not place layer {}", options_.from->string(), layer));
    for (std::size_t rank = 0; rank < options_.ranks; ++rank) {
      const std::size_t held = found->second.experts_of(rank_at(rank)).size();
      if (held == options_.slots_per_rank) continue;
      throw InvalidInput(fmt::format("{}: layer {}: rank {} holds {} experts, but --slots-per-rank is {}",
                                     options_.from->string(), layer, rank, held, options_.slots_per_rank));
    }
  }
}

const std::vector<std::int64_t>& PlaceProblem::score(std::size_t layer) const {
  return score_ ? score_->total()[layer] : loads(layer);
}

std::vector<std::int64_t> PlaceProblem::step_counts(std::size_t layer) const {
  const LoadHistory& history = score_ ? *score_ : loads_;
  const std::int64_t total = checked_total(score(layer), num_experts(), "loads");
  const auto windows = static_cast<std::int64_t>(history.num_windows_seen());
  const std::int64_t tokens = static_cast<std::int64_t>(options_.step_tokens.value_or(0));
  if (tokens > max_total_load / costs_->top_k)
    throw InvalidInput(fmt::format("--step-tokens times top_k must be at most {}", max_total_load));
  const std::int64_t assignments =
      tokens > 0 ? tokens * costs_->top_k : total / std::max<std::int64_t>(windows, 1);
  std::vector<std::int64_t> counts;
  for (const LoadTable& source : history.by_source())
    counts.insert(counts.end(), source[layer].begin(), source[layer].end());
  if (history.by_source().size() != options_.ranks || !is_loaded(counts))
    return spread_over_sources(scale_shares(score(layer), assignments), options_.ranks);
  return scale_shares(counts, assignments);
}

const Placement* PlaceProblem::from(std::size_t layer) const {
  const auto found = from_.find(layer);
  return found == from_.end() ? nullptr : &found->second;
}

Placement PlaceProblem::place(PlaceAlgorithm algorithm, std::size_t layer) const {
  EplbShape shape{space_.num_slots(), options_.ranks, options_.nodes, options_.groups};
  switch (algorithm) {
    case PlaceAlgorithm::contiguous:
      return contiguous_with_spares(num_experts(), options_.ranks, options_.slots_per_rank);
    case PlaceAlgorithm::eplb:
      shape.num_nodes = shape.num_groups = 1;
      return eplb_placement(loads(layer), shape);
    case PlaceAlgorithm::eplb_hierarchical:
      return eplb_placement(loads(layer), shape);
    case PlaceAlgorithm::robust:
      return plan_robust(layer);
    case PlaceAlgorithm::moewe:
      break;
  }
  return from(layer) != nullptr ? plan_from(*from(layer), layer) : plan(layer);
}

Placement PlaceProblem::plan(std::size_t layer) const {
  if (options_.has_homes()) {
    GroupOptions groups;
    groups.num_groups = options_.groups;
    groups.target = options_.target.value_or(groups.target);
    return plan_with_groups(loads(layer), space_, groups);
  }
  PlanOptions plan;
  plan.target = options_.target.value_or(plan.target);
  return plan_placement(loads(layer), space_, plan);
}

/// Starts anew where few changes neither reach the target nor take away half of what a rank has above it.
Placement PlaceProblem::plan_from(const Placement& from, std::size_t layer) const {
  IncrementalOptions incremental;
  incremental.target = options_.target.value_or(incremental.target);
  incremental.slowness = space_.slowness;
  Placement near = plan_incrementally(from, loads(layer), incremental);
  const std::int64_t total = checked_total(loads(layer), num_experts(), "loads");
  const std::int64_t allowed = speeds_.allowed_time(total, incremental.target);
  const auto excess = [&](const Placement& placement) {
    return std::max<std::int64_t>(0, least_time(placement, loads(layer), speeds_) - allowed);
  };
  return 2 * excess(near) <= excess(from) ? near : plan(layer);
}

Placement PlaceProblem::plan_robust(std::size_t layer) const {
  RobustOptions robust;
  robust.seed = options_.seed;
  const std::size_t most = robust.scenarios / 2;
  const auto& windows = loads_.windows();
  for (std::size_t i = windows.size() > most ? windows.size() - most : 0; i < windows.size(); ++i) {
    if (windows.size() > 1 && is_loaded(windows[i][layer])) robust.seen.push_back(windows[i][layer]);
  }
  if (from(layer) != nullptr) return plan_robustly_from(*from(layer), loads(layer), space_, robust);
  return plan_robustly(loads(layer), space_, robust);
}

Placement PlaceProblem::together(const Placement& placement, std::size_t layer) const {
  AffinityOptions affinity;
  affinity.target = options_.target.value_or(affinity.target);
  affinity.slowness = space_.slowness;
  return bring_together(placement, topology(), loads(layer), tokens_->co_activation(layer), affinity);
}

std::vector<PlaceAlgorithm> PlaceProblem::algorithms() const {
  if (options_.algorithm) return {*options_.algorithm};
  std::vector<PlaceAlgorithm> all{PlaceAlgorithm::contiguous, PlaceAlgorithm::eplb};
  if (options_.groups > 1 && options_.groups % options_.nodes == 0)
    all.push_back(PlaceAlgorithm::eplb_hierarchical);
  all.insert(all.end(), {PlaceAlgorithm::moewe, PlaceAlgorithm::robust});
  return all;
}

Placement contiguous_with_spares(std::size_t num_experts, std::size_t num_ranks, std::size_t slots_per_rank) {
  if (num_ranks * slots_per_rank == num_experts) return contiguous_placement(num_experts, num_ranks);
  std::vector<std::vector<ExpertId>> experts_of_rank(num_ranks);
  for (std::size_t slot = 0; slot < num_ranks * slots_per_rank; ++slot)
    experts_of_rank[slot / slots_per_rank].push_back(expert_at(slot % num_experts));
  return {0, num_experts, std::move(experts_of_rank)};
}

}  // namespace moewe
