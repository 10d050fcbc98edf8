#include "runtime/dispatch_plan.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <set>

#include "comm/error.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

TEST(DispatchPlan, SendsEachTokenOnceToEachRankAndEveryAssignmentToItsSlot) {
  MemoryMeter meter;
  DispatchPlan plan(meter);  // the same one for all cases, so that left-overs would show
  for (const test::RoutingCase& c : test::routing_cases()) {
    for (const std::size_t num_ranks : {1U, 2U, 3U, 8U}) {
      SCOPED_TRACE(c.name + " on " + std::to_string(num_ranks));
      const Placement placement = contiguous_placement(c.spec.num_experts, num_ranks);
      const test::OwnedRouting routing = test::make_routing(c, 0, c.num_tokens);
      plan.build(routing, placement);
      std::set<std::pair<std::size_t, std::size_t>> seen;
      for (std::size_t rank = 0; rank < num_ranks; ++rank) {
        const Destination destination = plan.to(rank_at(rank));
        EXPECT_TRUE(
            std::is_sorted(destination.tokens.begin(), destination.tokens.end(), std::less_equal<>()));
        std::set<std::uint32_t> rows_used;
        std::pair<std::size_t, std::size_t> before{0, 0};
        for (const PlannedAssignment& assignment : destination.assignments) {
          const Slot& slot =
              placement.slot_of(routing.experts[assignment.token * routing.top_k + assignment.k]);
          EXPECT_EQ(slot, (Slot{rank_at(rank), assignment.slot}));
          EXPECT_EQ(destination.tokens[assignment.row], assignment.token);
          const std::pair<std::size_t, std::size_t> here{assignment.token, assignment.k};
          EXPECT_TRUE(seen.insert(here).second);
          EXPECT_TRUE(seen.size() == 1 || before <= here);
          before = here;
          rows_used.insert(assignment.row);
        }
        EXPECT_EQ(rows_used.size(), destination.tokens.size());
      }
      EXPECT_EQ(seen.size(), c.num_tokens * c.spec.router.top_k);
    }
  }
}

TEST(DispatchPlan, SendsNothingForWhatWasDropped) {
  const test::OwnedRouting routing{
      3, 2, {ExpertId{0}, no_expert, no_expert, no_expert, no_expert, ExpertId{1}}, {1, 0, 0, 0, 0, 1}};
  MemoryMeter meter;
  DispatchPlan plan(meter);
  plan.build(routing, contiguous_placement(2, 2));
  EXPECT_EQ(plan.num_assignments(), 2U);
  ASSERT_EQ(plan.to(Rank{0}).tokens.size(), 1U);
  EXPECT_EQ(plan.to(Rank{0}).tokens[0], 0U);
  ASSERT_EQ(plan.to(Rank{1}).assignments.size(), 1U);
  EXPECT_EQ(plan.to(Rank{1}).assignments[0].token, 2U);
  EXPECT_EQ(plan.to(Rank{1}).assignments[0].k, 1U);
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
