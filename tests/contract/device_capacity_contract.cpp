// What a capacity leaves of the assignments of layers on devices: what it leaves on cores.

#include <cmath>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <numeric>

#include "tests/support/device_layers.hpp"
#include "tests/support/overflow_oracle.hpp"
#include "tests/support/random_placement.hpp"

namespace moewe {
namespace {

using test::expect_shared_error;
using test::LayerOnDevice;
using test::on_every_rank;
using test::OverflowCase;
using test::part_of;
using test::random_floats;
using test::Share;
using test::share_of;

constexpr std::size_t hidden = 8;

LayerSpec spec_of(const OverflowCase& c) { return {{hidden, 8}, c.num_experts, {c.top_k, true}}; }

/// Every policy but `error`, with and without scaling, and with fair shares where it has them.
std::vector<CapacityOptions> all_policies() {
  std::vector<CapacityOptions> all;
  for (const OverflowPolicy policy :
       {OverflowPolicy::drop_last, OverflowPolicy::drop_lowest_weight, OverflowPolicy::next_choice}) {
    for (const bool renormalise : {false, true}) {
      all.push_back({.policy = policy, .renormalise = renormalise});
      if (policy != OverflowPolicy::next_choice)
        all.push_back({.policy = policy, .renormalise = renormalise, .is_fair = true});
    }
  }
  return all;
}

OverflowCase case_with_tokens(std::uint64_t seed) {
  OverflowCase c = test::random_overflow_case(seed);
  while (c.num_tokens == 0) c = test::random_overflow_case(seed += 1000);
  c.capacity = std::min(c.capacity, c.num_tokens);
  return c;
}

/// With which the rule of Megatron gives an expert exactly the case's capacity.
double factor_of(const OverflowCase& c) {
  return (static_cast<double>(c.capacity) - 0.5) * static_cast<double>(c.num_experts) /
         static_cast<double>(c.num_tokens * c.top_k);
}

void expect_same(const OverflowReport& report, const OverflowReport& expected) {
  EXPECT_EQ(report.capacity, expected.capacity);
  EXPECT_EQ(report.assigned, expected.assigned);
  EXPECT_EQ(report.kept, expected.kept);
  EXPECT_EQ(report.over_capacity, expected.over_capacity);
  EXPECT_EQ(report.no_room, expected.no_room);
  EXPECT_EQ(report.rerouted_from, expected.rerouted_from);
  EXPECT_EQ(report.rerouted_to, expected.rerouted_to);
}

/// What the layer has just decided and computed is what the other one has; each of its outputs nearly.
void expect_same_step(const DeviceLayer& layer, const MoeLayer& on_cores) {
  EXPECT_TRUE(std::ranges::equal(layer.routing().experts, on_cores.routing().experts));
  const StepReport& report = layer.report();
  ASSERT_TRUE(report.overflow.has_value());
  expect_same(*report.overflow, on_cores.report().overflow.value());
  EXPECT_EQ(report.assignments_per_expert, on_cores.report().assignments_per_expert);
  EXPECT_EQ(report.own_per_expert, on_cores.report().own_per_expert);
  EXPECT_EQ(report.assignments_per_rank, on_cores.report().assignments_per_rank);
  EXPECT_EQ(report.computed_per_slot, on_cores.report().computed_per_slot);
}

void expect_near(const std::vector<float>& y, const std::vector<float>& expected) {
  ASSERT_EQ(y.size(), expected.size());
  for (std::size_t i = 0; i < y.size(); ++i)
    ASSERT_NEAR(y[i], expected[i], 1e-5F * (1 + std::abs(expected[i]))) << "value " << i;
}

LayerOnDevice::Options bounded(const CapacityOptions& capacity, std::size_t max_tokens) {
  LayerOnDevice::Options options;
  options.layer.capacity = capacity;
  options.max_tokens = max_tokens;
  return options;
}

/// One step of a case on this rank's device and on its cores, with copies of experts. What the device makes
/// of this rank's tokens; nothing without a device.
std::vector<float> check_step(Communicator& communicator, const Backend& backend, const OverflowCase& c,
                              const LayerOnDevice::Options& options) {
  const LayerSpec spec = spec_of(c);
  const Placement placement = test::random_placement(c.num_experts, communicator.size(), c.num_tokens);
  LayerOnDevice layer(communicator, backend, spec, placement, options);
  if (!layer) return {};
  MoeLayer on_cores(layer.engine(), spec, placement, test::GeneratedWeights(spec, test::weights_seed),
                    options.layer);
  const Share share = share_of(c.num_tokens, layer.engine().communicator());
  const std::vector<float> x = part_of(random_floats(c.num_tokens * hidden, 5), share, hidden);
  const OverflowCase mine = c.tokens(share.first, share.count);
  const Routing given = mine.view();
  const std::vector<float> expected = test::forward(on_cores, x, given);
  const std::vector<float> y = layer.forward(x, &given);
  expect_same_step(*layer.operator->(), on_cores);
  EXPECT_TRUE(std::ranges::equal(layer->routing().weights, on_cores.routing().weights));
  expect_near(y, expected);
  return y;
}

TEST(DeviceCapacityContract, DropsAndReroutesAsOnCoresWithTheBitsOfOneRank) {
  const std::vector<CapacityOptions> policies = all_policies();
  for (std::uint64_t seed = 200; seed < 204; ++seed) {
    const OverflowCase c = case_with_tokens(seed);
    for (CapacityOptions capacity : policies) {
      SCOPED_TRACE(fmt::format("seed {}, policy {}, renormalise {}, fair {}", seed,
                               static_cast<int>(capacity.policy), capacity.renormalise, capacity.is_fair));
      capacity.factor = factor_of(c);
      const LayerOnDevice::Options options = bounded(capacity, c.num_tokens);
      std::vector<float> on_one;
      run_ranks(1, test::patience, [&](Communicator& communicator) {
        on_one = check_step(communicator, loopback_backend(), c, options);
      });
      on_every_rank([&](Communicator& communicator, const Backend& backend) {
        const std::vector<float> y = check_step(communicator, backend, c, options);
        if (capacity.is_fair || on_one.empty()) return;  // fair shares are of as many ranks as there are
        EXPECT_EQ(y, part_of(on_one, share_of(c.num_tokens, communicator), hidden));
      });
    }
  }
}

TEST(DeviceCapacityContract, CombinedFastDropsTheSame) {
  const OverflowCase c = case_with_tokens(205);
  for (CapacityOptions capacity : all_policies()) {
    capacity.factor = factor_of(c);
    LayerOnDevice::Options options = bounded(capacity, c.num_tokens);
    options.layer.combine = Combine::fast;
    on_every_rank([&](Communicator& communicator, const Backend& backend) {
      check_step(communicator, backend, c, options);
    });
  }
}

/// With experts that no token may choose, and one that all of them share.
LayerSpec spec_with_router() {
  LayerSpec spec{{16, 8}, 16, {3, true}, 12};
  spec.router.score = Score::sigmoid;
  spec.router.has_selection_bias = true;
  spec.router.num_groups = 4;
  spec.router.kept_groups = 2;
  return spec;
}

TEST(DeviceCapacityContract, TheRoutersOwnChoicesOverflowAsOnCores) {
  const LayerSpec spec = spec_with_router();
  const std::size_t num_tokens = 90;
  const std::vector<float> x = random_floats(num_tokens * spec.expert.hidden, 5);
  for (CapacityOptions capacity : all_policies()) {
    capacity.factor = 0.3;  // so little that some tokens have nothing left but the shared expert
    LayerOnDevice::Options options = bounded(capacity, num_tokens);
    if (capacity.renormalise) options.engine.verify = VerifyLevel::audit;
    on_every_rank([&](Communicator& communicator, const Backend& backend) {
      LayerOnDevice layer(communicator, backend, spec,
                          contiguous_placement(spec.num_experts, communicator.size()), options);
      if (!layer) return;
      MoeLayer on_cores = test::make_layer(layer.engine(), spec, options.layer);
      const Share share = share_of(num_tokens, layer.engine().communicator());
      const std::vector<float> mine = part_of(x, share, spec.expert.hidden);
      std::vector<float> expected(mine.size());
      for (int step = 0; step < 2; ++step) {
        on_cores.forward(mine, expected);
        const std::vector<float> y = layer.forward(mine);
        expect_same_step(*layer.operator->(), on_cores);
        expect_near(y, expected);
      }
      const std::vector<std::int64_t>& kept = layer->report().overflow->kept;
      EXPECT_LT(std::accumulate(kept.begin(), kept.end(), std::int64_t{0}), 90 * 3);
    });
  }
}

TEST(DeviceCapacityContract, ThePolicyErrorEndsTheStepAndLeavesTheLayerUsable) {
  OverflowCase c = case_with_tokens(206);
  c.capacity = 1;
  CapacityOptions strict{.factor = factor_of(c), .policy = OverflowPolicy::error};
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    LayerOnDevice layer(communicator, backend, spec_of(c),
                        contiguous_placement(c.num_experts, communicator.size()),
                        bounded(strict, c.num_tokens));
    if (!layer) return;
    const Share share = share_of(c.num_tokens, layer.engine().communicator());
    const std::vector<float> x = part_of(random_floats(c.num_tokens * hidden, 5), share, hidden);
    const OverflowCase mine = c.tokens(share.first, share.count);
    const Routing given = mine.view();
    for (int time = 0; time < 2; ++time) {
      expect_shared_error(ErrorKind::overflow, "than their capacity of 1", [&] { layer.forward(x, &given); });
    }
    const bool is_first = communicator.rank() == Rank{0};
    const OverflowCase one = c.tokens(0, is_first ? 1 : 0);  // its choices are of different experts
    const Routing alone = one.view();
    layer.forward(random_floats(one.num_tokens * hidden, 5), &alone);
    EXPECT_EQ(layer->report().overflow->capacity, 1U);
  });
}

TEST(DeviceCapacityContract, NextChoiceNeedsSelectionValues) {
  OverflowCase c = case_with_tokens(207);
  const LayerOnDevice::Options options =
      bounded({.factor = factor_of(c), .policy = OverflowPolicy::next_choice}, c.num_tokens);
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    LayerOnDevice layer(communicator, backend, spec_of(c),
                        contiguous_placement(c.num_experts, communicator.size()), options);
    if (!layer) return;
    const std::vector<float> x = random_floats(c.num_tokens * hidden, 5);
    Routing given = c.view();
    if (index(communicator.rank()) + 1 == communicator.size()) given.selection = {};
    expect_shared_error(ErrorKind::invalid_input, "needs selection values",
                        [&] { layer.forward(x, &given); });
  });
}

}  // namespace
}  // namespace moewe
