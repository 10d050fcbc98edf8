#include "placement/bounds.hpp"

#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <numeric>
#include <random>
#include <vector>

#include "comm/error.hpp"

namespace moewe {
namespace {

using Loads = std::vector<std::int64_t>;
using Slots = std::vector<std::size_t>;  // how many each rank has

Loads draw_loads(std::mt19937& random, std::size_t num_experts) {
  Loads loads(num_experts);
  for (std::int64_t& load : loads)
    load = static_cast<std::int64_t>(random() % 4 == 0 ? random() % 40 : random() % 9);
  return loads;
}

/// The least that the most loaded rank computes for one placement: for every set of experts, those ranks that
/// hold any of them share its load (Hall).
std::int64_t optimum_of(const Loads& loads, const std::vector<unsigned>& ranks_of_expert) {
  std::int64_t optimum = 0;
  for (unsigned set = 1; set < 1U << loads.size(); ++set) {
    std::int64_t load = 0;
    unsigned ranks = 0;
    for (std::size_t expert = 0; expert < loads.size(); ++expert) {
      if ((set >> expert & 1U) == 0) continue;
      load += loads[expert];
      ranks |= ranks_of_expert[expert];
    }
    const int count = __builtin_popcount(ranks);
    optimum = std::max(optimum, (load + count - 1) / count);
  }
  return optimum;
}

/// Every way to fill all slots, one after the other.
class Search {
 public:
  Search(const Loads& loads, const Slots& slots) : loads_(loads), ranks_(loads.size(), 0) {
    for (std::size_t rank = 0; rank < slots.size(); ++rank)
      rank_of_slot_.insert(rank_of_slot_.end(), slots[rank], rank);
  }

  std::int64_t least() {
    fill(0);
    return least_;
  }

 private:
  void fill(std::size_t slot) {
    if (slot == rank_of_slot_.size()) {
      if (std::count(ranks_.begin(), ranks_.end(), 0U) == 0)
        least_ = std::min(least_, optimum_of(loads_, ranks_));
      return;
    }
    for (unsigned& ranks : ranks_) {
      const unsigned before = ranks;
      ranks |= 1U << rank_of_slot_[slot];
      fill(slot + 1);
      ranks = before;
    }
  }

  const Loads& loads_;
  std::vector<unsigned> ranks_;
  std::vector<std::size_t> rank_of_slot_;
  std::int64_t least_ = INT64_MAX;
};

TEST(Bounds, AreNeverAboveAndOftenEqualToTheBestOfAllPlacements) {
  std::mt19937 random(1);
  int num_equal = 0;
  int num_cases = 0;
  for (const Slots& slots :
       {Slots{2, 2}, Slots{1, 1, 1}, Slots{2, 2, 1}, Slots{3, 1}, Slots{2, 2, 2}, Slots{4, 0, 1}}) {
    const std::size_t num_slots = std::accumulate(slots.begin(), slots.end(), std::size_t{0});
    for (int i = 0; i < 12; ++i) {
      const Loads loads = draw_loads(random, num_slots - static_cast<std::size_t>(i % 3));
      if (loads.empty()) continue;
      const std::int64_t bound = load_bounds(loads, slots).largest();
      const std::int64_t least = Search(loads, slots).least();
      EXPECT_LE(bound, least) << testing::PrintToString(loads) << testing::PrintToString(slots);
      num_equal += bound == least ? 1 : 0;
      ++num_cases;
    }
  }
  EXPECT_GT(3 * num_equal, 2 * num_cases) << num_equal << " of " << num_cases;
}

TEST(MeanBound, IsTheMeanRoundedUp) {
  EXPECT_EQ(mean_bound(Loads{3, 4, 0}, 2), 4);
  EXPECT_EQ(mean_bound(Loads{3, 5, 0}, 2), 4);
  EXPECT_EQ(mean_bound(Loads{0, 0}, 5), 0);
}

TEST(SlotBound, IsTheLeastLoadWhoseCopiesFit) {
  EXPECT_EQ(slot_bound(Loads{100, 1, 1}, 4, 3), 100);  // nothing can be copied
  EXPECT_EQ(slot_bound(Loads{100, 1, 1}, 4, 4), 50);
  EXPECT_EQ(slot_bound(Loads{100, 1, 1}, 4, 5), 34);
  EXPECT_EQ(slot_bound(Loads{100, 1, 1}, 4, 9), 26);  // the mean
  EXPECT_EQ(slot_bound(Loads{0, 0}, 2, 2), 0);
  EXPECT_EQ(slot_bound(Loads{1, 0}, 1, 2), 1);
  std::mt19937 random(2);
  for (int i = 0; i < 200; ++i) {
    const Loads loads = draw_loads(random, 1 + random() % 7);
    const std::size_t num_slots = loads.size() + random() % 5;
    const std::size_t num_ranks = 1 + random() % 4;
    std::int64_t least = mean_bound(loads, num_ranks);
    const auto copies = [&] {
      std::int64_t sum = 0;
      for (const std::int64_t load : loads) sum += load == 0 ? 1 : (load + least - 1) / least;
      return sum;
    };
    while (copies() > static_cast<std::int64_t>(num_slots)) ++least;
    EXPECT_EQ(slot_bound(loads, num_ranks, num_slots), least);
  }
}

TEST(CardinalityBound, CountsWhatFillsTheRanksOfTheLargest) {
  EXPECT_EQ(cardinality_bound(Loads{10, 4, 3, 3}, Slots{2, 2}), 13);  // n = 1
  EXPECT_EQ(cardinality_bound(Loads{9, 8, 8, 1, 1, 1}, Slots{3, 3}),
            17);  // two of the largest three share a rank
  EXPECT_EQ(cardinality_bound(Loads{9, 9}, Slots{1, 1}), 9);
  EXPECT_EQ(cardinality_bound(Loads{9, 9, 0}, Slots{3, 0}), 18);
  EXPECT_EQ(cardinality_bound(Loads{0, 0}, Slots{1, 1}), 0);
}

/// (a) for all n and all i from ceil(n / k) to min(n, G), and (b) for all q below k, as they are written
/// down.
TEST(CardinalityBound, IsTheFormulasOfEqualRanks) {
  std::mt19937 random(3);
  for (int round = 0; round < 100; ++round) {
    const std::size_t ranks = 1 + random() % 4;
    const std::size_t k = 1 + random() % 4;
    Loads loads = draw_loads(random, ranks * k);
    const std::int64_t bound = cardinality_bound(loads, Slots(ranks, k));
    std::sort(loads.rbegin(), loads.rend());
    std::int64_t expected = mean_bound(loads, ranks);
    for (std::size_t n = 1; n <= loads.size(); ++n) {
      std::int64_t least = INT64_MAX;
      for (std::size_t i = (n + k - 1) / k; i <= std::min(n, ranks); ++i) {
        const auto end = loads.end();
        const std::int64_t sum =
            std::accumulate(loads.begin(), loads.begin() + static_cast<std::ptrdiff_t>(n), std::int64_t{0}) +
            std::accumulate(end - static_cast<std::ptrdiff_t>(i * k - n), end, std::int64_t{0});
        least = std::min(least, (sum + static_cast<std::int64_t>(i) - 1) / static_cast<std::int64_t>(i));
      }
      expected = std::max(expected, least);
    }
    for (std::size_t q = 0; q < k; ++q) {
      const auto large = loads.begin() + static_cast<std::ptrdiff_t>(ranks * q);
      if (ranks * q + 1 > loads.size()) continue;
      const std::int64_t sum =
          std::accumulate(large - static_cast<std::ptrdiff_t>(q), large + 1, std::int64_t{0}) +
          std::accumulate(loads.end() - static_cast<std::ptrdiff_t>(k - q - 1), loads.end(), std::int64_t{0});
      expected = std::max(expected, sum);
    }
    EXPECT_EQ(bound, expected);
  }
}

TEST(Bounds, ReachTheLargestLoads) {
  const Loads loads{max_total_load - 2, 1, 1};
  EXPECT_EQ(load_bounds(loads, Slots{2, 1}).largest(), max_total_load - 2);
  EXPECT_EQ(slot_bound(loads, 3, 5), (max_total_load + 2) / 3);
}

TEST(Bounds, RefuseWhatCannotBe) {
  EXPECT_THROW(mean_bound(Loads{1}, 0), InvalidInput);
  EXPECT_THROW(mean_bound(Loads{2, -1}, 1), InvalidInput);
  EXPECT_THROW(mean_bound(Loads{max_total_load, 1}, 1), InvalidInput);
  EXPECT_THROW(mean_bound(Loads{INT64_MAX, INT64_MAX}, 1), InvalidInput);
  EXPECT_THROW(slot_bound(Loads{1, 1}, 1, 1), InvalidInput);
  EXPECT_THROW(cardinality_bound(Loads{1, 1}, Slots{2, 1}), InvalidInput);
  EXPECT_NO_THROW(mean_bound(Loads{max_total_load - 1, 1}, 1));
}

}  // namespace
}  // namespace moewe
