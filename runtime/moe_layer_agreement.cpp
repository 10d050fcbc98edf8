#include <array>
#include <fmt/format.h>
#include <numeric>
#include <utility>

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "runtime/moe_layer.hpp"

// What ranks settle together about a step before its rows travel.

namespace moewe {
namespace {

std::int64_t sum(std::span<const std::int64_t> values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

}  // namespace

StepProposal MoeLayer::route(LayerStep& step, const Routing* given) {
  StepProposal proposal;
  proposal.header = header(Operation::run_step, step.epoch->placement, step.number);
  step.is_split_as_stored = options_.split == SplitMode::stored && stored_split_.take(step.epoch->placement);
  proposal.header.add("stored split", static_cast<std::int64_t>(step.is_split_as_stored));
  proposal.counts_length = engine_.max_counts();
  if (migration_) proposal.migration = migration_->word();
  try {
    check_sizes(step);
    step.epoch->audited.check(engine_.threads());
    step.num_tokens = step.y.size() / spec_.expert.hidden;
    if (given != nullptr) {
      check_given(step, *given);
      step.routing = *given;
    } else {
      if (!router_)
        throw InvalidInput(fmt::format("layer {} has no router: a step needs a routing", number_));
      step.is_routed_here = true;
      make_room_for_routing(step);
      router_->route(step.x, step.num_tokens, step.lane->routed, engine_.workspace());
      step.routing = step.lane->routed.view();
    }
    proposal.num_tokens = step.num_tokens;
    proposal.counts = count_own(step, proposal.counts_length + StepProposal::num_appended);
  } catch (...) {
    proposal.failure = std::current_exception();
  }
  return proposal;
}

std::vector<std::int64_t> MoeLayer::count_own(LayerStep& step, std::size_t room) {
  if (!step.is_split_as_stored) {
    std::vector<std::int64_t> counts = count_assignments(step.routing, spec_.num_experts, room);
    step.report.own_per_expert = counts;
    if (agrees_on_sources(step))
      append_source_counts(step.epoch->placement, engine_.communicator().rank(), counts);
    return counts;
  }
  const Placement& placement = step.epoch->placement;
  step.choice = SlotChoice(stored_split_.quotas(placement, step.routing, engine_.communicator().rank()));
  std::vector<std::int64_t> counts = count_slots(step.routing, placement, step.choice, room);
  step.report.own_per_expert = placement.expert_loads(counts);
  return counts;
}

void MoeLayer::take_counts(LayerStep& step, std::vector<std::int64_t> counts) const {
  if (step.is_split_as_stored) {
    step.report.assignments_per_expert = step.epoch->placement.expert_loads(counts);
    step.per_slot = std::move(counts);
  } else {
    const auto sources = counts.begin() + static_cast<std::ptrdiff_t>(spec_.num_experts);
    step.source_counts.assign(sources, counts.end());
    counts.erase(sources, counts.end());
    step.report.assignments_per_expert = std::move(counts);
  }
}

/// What a capacity leaves of the counts is not known before they are agreed on.
bool MoeLayer::agrees_on_sources(const LayerStep& step) const {
  const std::size_t room = engine_.max_counts() - spec_.num_experts;
  return !options_.capacity && !step.is_split_as_stored && num_source_counts(step.epoch->placement) <= room;
}

void MoeLayer::decide(LayerStep& step, Agreement agreement) {
  take_counts(step, std::move(agreement.counts));
  if (options_.capacity) {
    const std::size_t capacity = expert_capacity(options_.capacity->rule, options_.capacity->factor,
                                                 agreement.num_tokens, spec_.router.top_k, spec_.num_experts);
    step.is_decided = true;
    together(engine_.communicator(), [&] { make_room_for_routing(step); });
    step.report.overflow =
        resolve_overflow(engine_.communicator(), *options_.capacity, capacity,
                         step.report.assignments_per_expert, step.routing, step.lane->decided);
    step.routing = step.lane->decided.view();
  }
  split(step);
  step.num_rounds = decide_rounds(step, agreement);
  step.lane->ledger.open(engine_.verify(), step.expected_per_slot);
  if (step.num_rounds > 1) agree_on_round(step);
}

void MoeLayer::split(LayerStep& step) {
  const Placement& placement = step.epoch->placement;
  if (!step.is_split_as_stored) {
    StepSplit split = split_exactly(step);
    last_split_ = split.digest;
    step.choice = SlotChoice(split.quotas);
    if (options_.split == SplitMode::stored && placement.has_replicas() && sum(split.per_slot) > 0)
      stored_split_.keep(placement, split);
    step.per_slot = std::move(split.per_slot);
  }
  step.report.is_split_as_stored = step.is_split_as_stored;
  step.report.assignments_per_rank = placement.rank_loads(step.per_slot);
  expect(step, step.per_slot, step.report.assignments_per_rank);
}

StepSplit MoeLayer::split_exactly(const LayerStep& step) const {
  Communicator& communicator = engine_.communicator();
  const Placement& placement = step.epoch->placement;
  if (step.source_counts.empty())
    return split_step(communicator, placement, step.routing, step.report.kept_per_expert());
  return split_by_source_counts(placement, communicator.topology(), communicator.rank(), step.source_counts,
                                step.report.assignments_per_expert);
}

void MoeLayer::expect(LayerStep& step, std::span<const std::int64_t> per_slot,
                      std::span<const std::int64_t> per_rank) const {
  const Communicator& communicator = engine_.communicator();
  const Rank self = communicator.rank();
  step.expected_per_slot = assignments_of(self, step.epoch->placement, per_slot);
  step.num_expected = static_cast<std::size_t>(per_rank[index(self)]);
  step.num_expected_on_node = 0;
  for (const Rank rank : communicator.topology().node_ranks(self))
    step.num_expected_on_node += static_cast<std::size_t>(per_rank[index(rank)]);
}

std::size_t MoeLayer::decide_rounds(const LayerStep& step, const Agreement& agreement) {
  if (agreement.num_tokens == 0) return 0;
  if (!engine_.has_memory_limit()) return 1;
  Communicator& communicator = engine_.communicator();
  const StepBounds bounds{.num_tokens = agreement.num_tokens,
                          .most_tokens_of_rank = agreement.most_tokens_of_rank,
                          .num_ranks = communicator.size(),
                          .top_k = spec_.router.top_k,
                          .num_expected = step.num_expected,
                          .num_expected_on_node = step.num_expected_on_node,
                          .row_bytes = row_format().bytes(),
                          .is_audited = engine_.verify() == VerifyLevel::audit,
                          .combine = options_.combine,
                          .flow = flow()};
  std::array<std::int64_t, 1> most_rounds{1};
  together(communicator, [&] {
    std::size_t rounds = fewest_rounds(*step.lane, bounds, engine_.lane_budget());
    if (rounds != 1) {
      // What earlier steps left may be of no use to this one.
      step.lane->release_memory();
      rounds = fewest_rounds(*step.lane, bounds, engine_.lane_budget());
    }
    if (rounds == 0) throw does_not_fit(step, bounds);
    most_rounds[0] = static_cast<std::int64_t>(rounds);
  });
  communicator.all_reduce({.sums = {}, .minima = {}, .maxima = most_rounds});
  return static_cast<std::size_t>(most_rounds[0]);
}

void MoeLayer::agree_on_round(LayerStep& step) {
  const TokenRange tokens = step.tokens_of_round();
  const Routing routing = step.routing.tokens(tokens.first, tokens.count);
  StepProposal proposal;
  proposal.header = header(Operation::run_round, step.epoch->placement, step.number);
  proposal.header.add("round", static_cast<std::int64_t>(step.round));
  proposal.counts_length = engine_.max_counts();
  proposal.num_tokens = tokens.count;
  proposal.counts = count_slots(routing, step.epoch->placement, step.choice);
  const Agreement agreement = agree(engine_.communicator(), std::move(proposal));
  expect(step, agreement.counts, step.epoch->placement.rank_loads(agreement.counts));
}

void MoeLayer::make_room_for_routing(const LayerStep& step) {
  MemoryPlan memory;
  plan_routing_memory(step, memory);
  const auto needed = [&] {
    MemoryPlan with_held = step.lane->held();
    with_held.cover(memory);
    return with_held.total();
  };
  if (engine_.has_memory_limit() && needed() > engine_.lane_budget()) {
    // What earlier steps left may be of no use to this one.
    if (!step.is_decided) step.lane->routed.release_memory();
    step.lane->decided.release_memory();
    step.lane->release_memory();
    if (needed() > engine_.lane_budget()) {
      throw InvalidInput(
          fmt::format("layer {}: the routing of {} tokens needs {} bytes, and the memory limit leaves {}",
                      number_, step.num_tokens, needed(), engine_.lane_budget()));
    }
  }
  step.lane->add_planned(memory);
}

}  // namespace moewe
