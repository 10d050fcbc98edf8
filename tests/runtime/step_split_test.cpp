#include "runtime/step_split.hpp"

#include <array>
#include <gtest/gtest.h>

#include "comm/loopback/run_ranks.hpp"
#include "placement/speed_split.hpp"
#include "placement/split.hpp"
#include "tests/support/random_placement.hpp"
#include "tests/support/routing_cases.hpp"
#include "tests/support/world.hpp"

namespace moewe {
namespace {

/// Of the slowest rank, in assignments of a rank of slowness 1.
std::int64_t time_of(const std::vector<std::int64_t>& rank_loads, const Placement& placement) {
  std::int64_t longest = 0;
  for (std::size_t rank = 0; rank < rank_loads.size(); ++rank)
    longest = std::max(longest, (rank_loads[rank] * placement.slowness()[rank] + 999'999) / 1'000'000);
  return longest;
}

/// The split is no other where everybody's counts came along with another sum.
void expect_same_of_source_counts(Communicator& communicator, const Placement& placement,
                                  const std::vector<std::int64_t>& mine, const StepSplit& expected) {
  const std::size_t num_counts = num_source_counts(placement), num_experts = placement.num_experts();
  EXPECT_EQ(num_counts > 0, communicator.size() <= most_ranks_by_source);
  EXPECT_LE(num_counts,
            most_source_counts(communicator.size(), num_experts, placement.num_slots() - num_experts));
  if (num_counts == 0) return;
  std::vector<std::int64_t> counts = mine;
  append_source_counts(placement, communicator.rank(), counts);
  ASSERT_EQ(counts.size(), num_experts + num_counts);
  communicator.all_reduce({.sums = counts, .minima = {}, .maxima = {}});
  const std::span<const std::int64_t> all = counts;
  const StepSplit split = split_by_source_counts(placement, communicator.topology(), communicator.rank(),
                                                 all.subspan(num_experts), all.first(num_experts));
  EXPECT_EQ(split.per_slot, expected.per_slot);
  EXPECT_EQ(split.quotas, expected.quotas);
  EXPECT_EQ(split.digest, expected.digest);
}

/// What every rank sends to each of an expert's slots, summed over the experts, is what the slots expect.
void expect_quotas_that_add_up(Communicator& communicator, const Placement& placement,
                               const test::RoutingCase& c) {
  const test::OwnedRouting routing = test::make_routing(c, 7 * index(communicator.rank()), 7);
  const std::vector<std::int64_t> mine = count_assignments(routing, c.spec.num_experts);
  std::vector<std::int64_t> all = mine;
  communicator.all_reduce({.sums = all, .minima = {}, .maxima = {}});
  const StepSplit split = split_step(communicator, placement, routing, all);
  expect_same_of_source_counts(communicator, placement, mine, split);
  const std::vector<std::int64_t> sent = count_slots(routing, placement, SlotChoice(split.quotas));
  std::vector<std::int64_t> received = sent;
  communicator.all_reduce({.sums = received, .minima = {}, .maxima = {}});
  EXPECT_EQ(received, split.per_slot);
  const std::vector<std::int64_t> loads = placement.rank_loads(split.per_slot);
  if (placement.slowness().empty()) {
    EXPECT_EQ(*std::max_element(loads.begin(), loads.end()), Splitter(placement).largest(all));
  } else {
    EXPECT_EQ(time_of(loads, placement),
              time_of(split_for_speeds(placement, all, placement.slowness()).rank_loads, placement));
  }
  std::array<std::int64_t, 1> lowest{static_cast<std::int64_t>(split.digest)}, highest = lowest;
  communicator.all_reduce({.sums = {}, .minima = lowest, .maxima = highest});
  EXPECT_EQ(lowest, highest);
  EXPECT_NE(split.digest, 0U);
}

TEST(StepSplit, SendsToEverySlotWhatItExpects) {
  const test::RoutingCase c = test::routing_cases().front();
  for (const std::size_t num_ranks : {std::size_t{2}, std::size_t{5}, most_ranks_by_source + 1}) {
    SCOPED_TRACE(num_ranks);
    const Placement placement = test::random_placement(c.spec.num_experts, num_ranks, num_ranks);
    std::vector<Millionths> slowness(num_ranks, 1'000'000);
    slowness.back() = 2'500'000;
    const Placement uneven = placement.with_slowness(slowness);
    run_ranks(num_ranks, test::patience, [&](Communicator& communicator) {
      expect_quotas_that_add_up(communicator, placement, c);
      expect_quotas_that_add_up(communicator, uneven, c);
    });
  }
}

TEST(StepSplit, OfSingleExpertsIsTheirLoad) {
  run_ranks(2, test::patience, [](Communicator& communicator) {
    const std::vector<std::int64_t> loads{3, 0, 5};
    const StepSplit split = split_step(communicator, contiguous_placement(3, 2), {}, loads);
    EXPECT_EQ(split.per_slot, loads);
    EXPECT_TRUE(split.quotas.empty());
  });
}

TEST(StepSplit, CountsByPosition) {
  const Placement placement(0, 3, {{ExpertId{2}, ExpertId{0}}, {ExpertId{0}, ExpertId{1}, ExpertId{0}}});
  const std::vector<std::int64_t> per_slot{10, 11, 12, 20, 30};  // 0 on rank 0 and twice on 1; 1; 2
  EXPECT_EQ(assignments_of(Rank{0}, placement, per_slot), (std::vector<std::int64_t>{30, 10}));
  EXPECT_EQ(assignments_of(Rank{1}, placement, per_slot), (std::vector<std::int64_t>{11, 20, 12}));
  EXPECT_EQ(placement.rank_loads(per_slot), (std::vector<std::int64_t>{40, 43}));
}

TEST(SlotChoice, GivesEverySlotItsQuotaInOrder) {
  const Placement placement(0, 2, {{ExpertId{0}}, {ExpertId{1}, ExpertId{0}}, {ExpertId{0}}});
  SlotChoice choice(std::vector<std::int64_t>{1, 0, 2, 5});
  EXPECT_EQ(choice.next(placement, ExpertId{0}), (Slot{Rank{0}, 0}));
  EXPECT_EQ(choice.next(placement, ExpertId{1}), (Slot{Rank{1}, 0}));
  EXPECT_EQ(choice.next(placement, ExpertId{0}), (Slot{Rank{2}, 0}));
  EXPECT_EQ(choice.next(placement, ExpertId{0}), (Slot{Rank{2}, 0}));
  EXPECT_THROW(choice.next(placement, ExpertId{0}), Error);  // a fault of ours: no slot is over-filled for it
}

}  // namespace
}  // namespace moewe
