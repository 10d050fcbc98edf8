#include "launch/rebalance_meter.hpp"

#include <gtest/gtest.h>

namespace moewe {
namespace {

LayerSpec any_spec() {
  LayerSpec spec;
  spec.expert = {8, 100, Activation::silu, true};
  spec.num_experts = 4;
  spec.router.top_k = 2;
  return spec;
}

StepReport report_of(std::vector<std::int64_t> computed, double expert_seconds) {
  StepReport report;
  report.computed_per_slot = std::move(computed);
  report.own_per_expert = {20, 0, 0, 20};
  report.seconds[static_cast<std::size_t>(Phase::experts)] = expert_seconds;
  return report;
}

TEST(RebalanceMeter, TakesTheMedianOfStepsOverTheirWork) {
  RebalanceMeter meter(any_spec());
  for (std::size_t step = 0; step < RebalanceMeter::steps_of_window; ++step) {
    EXPECT_FALSE(meter.is_window_over());
    const double disturbed = step < 5 ? 100 : 1;
    meter.count(report_of({40, 0}, 50e-9 * disturbed), 1e-6);  // 40 and 16 + 44 rows: 100 units
    meter.count(report_of({3, 44}, 50e-9), 3e-6);
    meter.step_done({});
  }
  EXPECT_TRUE(meter.is_window_over());
  const WindowMeasures measures = meter.take_window();
  EXPECT_EQ(measures.work, 1000);
  EXPECT_EQ(measures.steps.layer_step, 2'000'000);
  EXPECT_FALSE(meter.is_window_over());
}

TEST(RebalanceMeter, CountsTokensOfTheSharedExpert) {
  LayerSpec spec = any_spec();
  spec.shared_intermediate = 300;
  RebalanceMeter meter(spec);
  for (std::size_t step = 0; step < RebalanceMeter::steps_of_window; ++step) {
    meter.count(report_of({40}, 100e-9), 1e-6);  // and 20 tokens, three times as wide
    meter.step_done({});
  }
  EXPECT_EQ(meter.take_window().work, 1000);
}

TEST(RebalanceMeter, SaysNothingOfARankThatDoesTooLittle) {
  RebalanceMeter meter(any_spec());
  for (std::size_t step = 0; step < RebalanceMeter::steps_of_window; ++step) {
    if (step < 7) meter.count(report_of({40}, 1e-6), 1e-6);
    meter.step_done({});
  }
  EXPECT_EQ(meter.take_window().work, 0);
}

TEST(RebalanceMeter, TellsOfMovesWhatTheWindowTook) {
  RebalanceMeter meter(any_spec());
  const auto window = [&](double sending_before, double sending_of_step) {
    for (std::size_t step = 1; step <= RebalanceMeter::steps_of_window; ++step)
      meter.step_done({sending_before + static_cast<double>(step) * sending_of_step, step % 2 == 0});
    return meter.take_window().steps;
  };
  meter.plan_done(3e-6);
  meter.plan_done(1e-6);
  EXPECT_EQ(window(0, 1e-6), (StepMeasures{0, 16'000'000, 8, 4'000'000, 2}));
  EXPECT_EQ(window(16e-6, 2e-6), (StepMeasures{0, 32'000'000, 8, 0, 0}));
}

}  // namespace
}  // namespace moewe
