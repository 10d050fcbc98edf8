#include "runtime/stored_split.hpp"

#include <gtest/gtest.h>

#include "comm/loopback/run_ranks.hpp"
#include "tests/support/random_placement.hpp"
#include "tests/support/routing_cases.hpp"
#include "tests/support/world.hpp"

namespace moewe {
namespace {

/// One rank's part of an exact split over several ranks that each have as many tokens.
StepSplit exact_split(Communicator& communicator, const Placement& placement, const Routing& routing) {
  std::vector<std::int64_t> all = count_assignments(routing, placement.num_experts());
  communicator.all_reduce({.sums = all, .minima = {}, .maxima = {}});
  return split_step(communicator, placement, routing, all);
}

void expect_whole(const std::vector<std::int64_t>& quotas, const Placement& placement,
                  const Routing& routing) {
  const std::vector<std::int64_t> counts = count_assignments(routing, placement.num_experts());
  const std::vector<std::int64_t> sums = placement.expert_loads(quotas);
  for (std::size_t e = 0; e < counts.size(); ++e) {
    if (placement.slots_of(expert_at(e)).size() == 1) continue;
    EXPECT_EQ(sums[e], counts[e]) << e;
  }
}

TEST(StoredSplit, DealsAllAssignmentsAndTheSameOnesAsTheExactOne) {
  const test::RoutingCase c = test::routing_cases().front();
  const Placement placement = test::random_placement(c.spec.num_experts, 3, 1);
  run_ranks(3, test::patience, [&](Communicator& communicator) {
    const std::size_t first = 20 * index(communicator.rank());
    const test::OwnedRouting then = test::make_routing(c, first, 20);
    const StepSplit exact = exact_split(communicator, placement, then);
    StoredSplit stored;
    EXPECT_FALSE(stored.take(placement));
    stored.keep(placement, exact);
    ASSERT_TRUE(stored.take(placement));
    const auto dealt = [&](const Routing& routing, const std::vector<std::int64_t>& quotas) {
      return count_slots(routing, placement, SlotChoice(quotas));
    };
    EXPECT_EQ(dealt(then, stored.quotas(placement, then, communicator.rank())), dealt(then, exact.quotas));
    for (const std::size_t count : {0U, 1U, 7U, 40U}) {
      const test::OwnedRouting now = test::make_routing(c, first + 100, count);
      expect_whole(stored.quotas(placement, now, communicator.rank()), placement, now);
    }
  });
}

TEST(StoredSplit, KeepsProportions) {
  const Placement placement(3, 2, {{expert_at(0)}, {expert_at(0), expert_at(1)}});
  StoredSplit stored;
  stored.keep(placement, {.per_slot = {30, 10, 0}, .quotas = {12, 4, 0}});
  const std::vector<ExpertId> chosen(8, expert_at(0));
  const std::vector<float> weights(8, 1.0F);
  EXPECT_EQ(stored.quotas(placement, {8, 1, chosen, weights, {}}, Rank{0}), (std::vector<std::int64_t>{6, 2, 0}));
  stored.keep(placement, {.per_slot = {30, 10, 0}, .quotas = {0, 0, 0}});  // this rank did not choose it
  EXPECT_EQ(stored.quotas(placement, {8, 1, chosen, weights, {}}, Rank{0}), (std::vector<std::int64_t>{6, 2, 0}));
}

TEST(StoredSplit, ServesSoOftenAndForItsPlacement) {
  const Placement placement = test::random_placement(8, 3, 1);
  const Placement later = test::random_placement(8, 3, 1, test::Duplicates::some, 2);
  StoredSplit stored;
  for (int time = 0; time < 2; ++time) {
    stored.keep(placement, {});
    EXPECT_FALSE(stored.take(later));
    for (std::size_t use = 0; use < StoredSplit::most_uses; ++use) EXPECT_TRUE(stored.take(placement));
    EXPECT_FALSE(stored.take(placement));
  }
}

}  // namespace
}  // namespace moewe
