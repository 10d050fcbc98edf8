#include "launch/rebalancing.hpp"

#include <algorithm>
#include <gtest/gtest.h>

#include "comm/loopback/run_ranks.hpp"
#include "placement/stages.hpp"
#include "tests/support/layer_runs.hpp"

namespace moewe {
namespace {

constexpr std::size_t num_experts = 16;
constexpr std::size_t num_tokens = 64;  // of each rank
constexpr std::size_t num_steps = 250;

LayerSpec any_spec() { return {{12, 10}, num_experts, {2, true}}; }

/// Each expert as often as any other.
std::vector<ExpertId> even_choices() {
  std::vector<ExpertId> experts;
  for (std::size_t i = 0; i < 2 * num_tokens; ++i) experts.push_back(expert_at(i % num_experts));
  return experts;
}

/// As if experts had taken a microsecond for a unit of the meter's work, or so many times as long.
StepOutcome outcome_of(const MoeLayer& layer, double slowness) {
  StepOutcome outcome;
  outcome.seconds = 1e-3;
  outcome.report = layer.report();
  double work = 0;
  for (const std::int64_t rows : outcome.report.computed_per_slot)
    work += rows > 0 ? static_cast<double>(std::max<std::int64_t>(rows, 16)) : 0;
  outcome.report.seconds[static_cast<std::size_t>(Phase::experts)] = 1e-6 * work * slowness;
  return outcome;
}

/// A layer whose second rank is slow: what its steps came to, on each rank.
void run_with_slow_rank(Communicator& communicator, const RebalanceRequest& request) {
  Engine engine(communicator, loopback_backend(), {});
  LayerOptions options;
  options.staging_slots = 1;
  std::vector<RunLayer> layers;
  layers.emplace_back(std::make_unique<MoeLayer>(
      engine, any_spec(), with_spare_copies(contiguous_placement(num_experts, 2), 4),
      test::GeneratedWeights(any_spec(), test::weights_seed), options));
  MoeLayer& layer = *layers.front().on_cores();
  const MigrationBudget budget(communicator.topology(), 0, std::nullopt);
  Rebalancing rebalancing(engine.communicator(), request, budget, layers, {0});
  const std::vector<ExpertId> experts = even_choices();
  const std::vector<float> weights(experts.size(), 0.5F);
  const Routing routing{num_tokens, 2, experts, weights, {}};
  const std::vector<float> x = test::bf16_floats(num_tokens * 12, 5);
  const std::vector<float> expected = test::forward(layer, x, routing);
  const double slowness = communicator.rank() == Rank{1} ? 2 : 1;
  for (std::size_t step = 0; step < num_steps; ++step) {
    EXPECT_EQ(test::forward(layer, x, routing), expected);
    rebalancing.count(outcome_of(layer, slowness));
    const auto counts = layer.report().kept_per_expert();
    const std::vector<std::vector<std::int64_t>> loads{{counts.begin(), counts.end()}};
    rebalancing.step_done(step, loads);
  }
  const std::vector<std::int64_t> of_ranks = layer.report().assignments_per_rank;
  rebalancing.finish();
  const RebalanceTotals totals = rebalancing.totals();
  EXPECT_EQ(totals.cancelled, 0U);
  if (!request.measures_speeds) {
    EXPECT_TRUE(totals.slowness.empty());
    EXPECT_EQ(totals.epochs, 0U);
    EXPECT_EQ(of_ranks[0], of_ranks[1]);
    return;
  }
  EXPECT_EQ(totals.slowness, (std::vector<Millionths>{1'000'000, 2'000'000}));
  EXPECT_GE(totals.epochs, 1U);
  EXPECT_EQ(layer.placement().slowness(), totals.slowness);
  EXPECT_GE(of_ranks[0] * 10, of_ranks[1] * 18);
  EXPECT_LE(of_ranks[0] * 10, of_ranks[1] * 22);
}

TEST(Rebalancing, LetsARankThatIsMeasuredToBeSlowComputeLess) {
  for (const bool measures_costs : {false, true}) {
    run_ranks(2, test::patience, [&](Communicator& communicator) {
      run_with_slow_rank(
          communicator,
          {.mode = RebalanceMode::automatic, .measures_speeds = true, .measures_costs = measures_costs});
    });
  }
}

TEST(Rebalancing, KnowsNoSpeedsWhereItDoesNotMeasure) {
  run_ranks(2, test::patience, [](Communicator& communicator) {
    run_with_slow_rank(communicator, {.mode = RebalanceMode::automatic});
  });
}

}  // namespace
}  // namespace moewe
