#include "runtime/dispatch_plan.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <set>

#include "comm/error.hpp"
#include "placement/split.hpp"
#include "runtime/destination_counts.hpp"
#include "runtime/step_split.hpp"
#include "tests/support/random_placement.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

/// Equal parts.
std::vector<std::int64_t> any_quotas(const Placement& placement, const Routing& routing) {
  std::vector<std::int64_t> quotas;
  if (!placement.has_replicas()) return quotas;
  const std::vector<std::int64_t> counts = count_assignments(routing, placement.num_experts());
  for (std::size_t e = 0; e < counts.size(); ++e) {
    const std::vector<std::int64_t> equal(placement.slots_of(expert_at(e)).size(), 1);
    const std::vector<std::int64_t> shares = scale_shares(equal, counts[e]);
    quotas.insert(quotas.end(), shares.begin(), shares.end());
  }
  return quotas;
}

void check_plan(DispatchPlan& plan, const test::RoutingCase& c, const Placement& placement) {
  const test::OwnedRouting routing = test::make_routing(c, 0, c.num_tokens);
  const std::vector<std::int64_t> quotas = any_quotas(placement, routing);
  SlotChoice slots(quotas);
  const std::vector<std::int64_t> expected = count_slots(routing, placement, slots);
  std::vector<std::int64_t> counts(expected.size(), 0);
  plan.build(routing, placement, slots);
  const std::vector<DestinationCounts> of_ranks = count_for_ranks(routing, placement, quotas);
  std::set<std::pair<std::size_t, std::size_t>> seen;
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
    const Destination destination = plan.to(rank_at(rank));
    EXPECT_TRUE(std::is_sorted(destination.tokens.begin(), destination.tokens.end(), std::less_equal<>()));
    std::set<std::uint32_t> rows_used;
    std::pair<std::size_t, std::size_t> before{0, 0};
    for (const PlannedAssignment& assignment : destination.assignments) {
      const ExpertId expert = routing.experts[assignment.token * routing.top_k + assignment.k];
      const auto of_expert = placement.slots_of(expert);
      const auto slot = std::find(of_expert.begin(), of_expert.end(), Slot{rank_at(rank), assignment.slot});
      ASSERT_NE(slot, of_expert.end());
      ++counts[placement.first_slot(expert) + static_cast<std::size_t>(slot - of_expert.begin())];
      EXPECT_EQ(destination.tokens[assignment.row], assignment.token);
      const std::pair<std::size_t, std::size_t> here{assignment.token, assignment.k};
      EXPECT_TRUE(seen.insert(here).second);
      EXPECT_TRUE(seen.size() == 1 || before <= here);
      before = here;
      rows_used.insert(assignment.row);
    }
    EXPECT_EQ(rows_used.size(), destination.tokens.size());
    EXPECT_EQ(of_ranks[rank].rows, destination.tokens.size());
    EXPECT_EQ(of_ranks[rank].assignments, destination.assignments.size());
  }
  EXPECT_EQ(seen.size(), c.num_tokens * c.spec.router.top_k);
  EXPECT_EQ(counts, expected);
}

TEST(DispatchPlan, SendsEachTokenOnceToEachRankAndEveryAssignmentToItsSlot) {
  MemoryMeter meter;
  DispatchPlan plan(meter);  // the same one for all cases, so that left-overs would show
  for (const test::RoutingCase& c : test::routing_cases()) {
    for (const std::size_t num_ranks : {1U, 2U, 3U, 8U}) {
      SCOPED_TRACE(c.name + " on " + std::to_string(num_ranks));
      check_plan(plan, c, contiguous_placement(c.spec.num_experts, num_ranks));
      check_plan(plan, c, test::random_placement(c.spec.num_experts, num_ranks, num_ranks));
    }
  }
}

TEST(DispatchPlan, SendsNothingForWhatWasDropped) {
  const test::OwnedRouting routing{
      3, 2, {ExpertId{0}, no_expert, no_expert, no_expert, no_expert, ExpertId{1}}, {1, 0, 0, 0, 0, 1}};
  MemoryMeter meter;
  DispatchPlan plan(meter);
  SlotChoice choice;
  plan.build(routing, contiguous_placement(2, 2), choice);
  EXPECT_EQ(plan.num_assignments(), 2U);
  ASSERT_EQ(plan.to(Rank{0}).tokens.size(), 1U);
  EXPECT_EQ(plan.to(Rank{0}).tokens[0], 0U);
  ASSERT_EQ(plan.to(Rank{1}).assignments.size(), 1U);
  EXPECT_EQ(plan.to(Rank{1}).assignments[0].token, 2U);
  EXPECT_EQ(plan.to(Rank{1}).assignments[0].k, 1U);
  EXPECT_EQ(count_for_ranks(routing, contiguous_placement(2, 2), {}),
            (std::vector<DestinationCounts>{{1, 1}, {1, 1}}));
}

TEST(CountAssignments, RefusesWhatCannotBeRouted) {
  test::OwnedRouting routing{2, 1, {ExpertId{0}, ExpertId{4}}, {1.0F, 1.0F}};
  EXPECT_EQ(count_assignments(routing, 5), (std::vector<std::int64_t>{1, 0, 0, 0, 1}));
  EXPECT_THROW(count_assignments(routing, 4), InvalidInput);
  routing.experts[0] = ExpertId{-1};
  EXPECT_THROW(count_assignments(routing, 5), InvalidInput);
  routing.experts[0] = ExpertId{0};
  routing.weights[1] = std::nanf("");
  EXPECT_THROW(count_assignments(routing, 5), InvalidInput);
  routing.weights[1] = 1.0F;
  EXPECT_NO_THROW(count_assignments(routing, 5));
  routing.experts.pop_back();
  EXPECT_THROW(count_assignments(routing, 5), InvalidInput);
}

}  // namespace
}  // namespace moewe
