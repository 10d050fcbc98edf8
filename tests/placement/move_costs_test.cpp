#include "placement/move_costs.hpp"

#include <array>
#include <gtest/gtest.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

using Ranks = std::array<StepMeasures, 2>;

constexpr MoveCosts assumed{50'000, 0};

TEST(MoveCostEstimate, AssumesUntilSomethingMoves) {
  MoveCostEstimate estimate(assumed);
  EXPECT_EQ(estimate.costs(), assumed);
  estimate.add_window(Ranks{StepMeasures{.layer_step = 1000}, StepMeasures{.layer_step = 2000}});
  estimate.add_window(Ranks{StepMeasures{.sending = 10, .sending_steps = 5}, StepMeasures{}});
  EXPECT_EQ(estimate.costs(), assumed);
}

TEST(MoveCostEstimate, AreSharesOfTheSlowestRanksStep) {
  MoveCostEstimate estimate(assumed);
  estimate.add_window(Ranks{StepMeasures{1000, 600, 4, 5000, 1}, StepMeasures{2000, 800, 4, 3000, 1}});
  EXPECT_EQ(estimate.costs(), (MoveCosts{100'000, 2'500'000}));
}

TEST(MoveCostEstimate, AreNotThoseOfOneDisturbedWindow) {
  MoveCostEstimate estimate(assumed);
  const auto add = [&](std::int64_t sending) {
    estimate.add_window(Ranks{StepMeasures{1000, sending, 1, 2 * sending, 1}, StepMeasures{}});
  };
  for (const std::int64_t sending : {100, 110, 90}) add(sending);
  EXPECT_EQ(estimate.costs(), (MoveCosts{100'000, 200'000}));
  add(100'000'000);
  EXPECT_EQ(estimate.costs(), (MoveCosts{110'000, 220'000}));
  for (int i = 0; i < 3; ++i) add(300);  // which lasts
  EXPECT_EQ(estimate.costs(), (MoveCosts{300'000, 600'000}));
}

TEST(MoveCostEstimate, HasBounds) {
  MoveCostEstimate estimate(assumed);
  constexpr std::int64_t most = std::int64_t{1} << 50U;
  estimate.add_window(Ranks{StepMeasures{1, most, 1, most, 1}, StepMeasures{}});
  EXPECT_EQ(estimate.costs(), (MoveCosts{1'000'000'000, 1'000'000'000}));
  EXPECT_THROW(estimate.add_window(Ranks{StepMeasures{.sending = -1}}), InvalidInput);
  EXPECT_THROW(estimate.add_window(Ranks{StepMeasures{.planning = most + 1}}), InvalidInput);
}

}  // namespace
}  // namespace moewe
