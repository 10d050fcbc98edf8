// Layers on devices whose experts migrate while steps go on.

#include <array>
#include <cmath>
#include <gtest/gtest.h>

#include "runtime/layer_memory.hpp"
#include "tests/support/device_layers.hpp"
#include "tests/support/migration_runs.hpp"
#include "tests/support/random_placement.hpp"

namespace moewe {
namespace {

using test::expect_shared_error;
using test::LayerOnDevice;
using test::on_every_rank;
using test::part_of;
using test::RoutingCase;
using test::shifted;
using test::some_case;

/// A layer whose experts can migrate, a rank's tokens for it, and what one does whose experts stay.
class Steps {
 public:
  Steps(Communicator& communicator, const Backend& backend, const RoutingCase& c,
        const LayerOnDevice::Options& options)
      : share_(test::share_of(c.num_tokens, communicator)),
        routing_(test::make_routing(c, share_.first, share_.count)),
        x_(part_of(test::bf16_floats(c.num_tokens * c.spec.expert.hidden, 5), share_, c.spec.expert.hidden)),
        layer_(communicator, backend, c.spec, contiguous_placement(c.spec.num_experts, communicator.size()),
               options) {
    if (layer_) expected_ = forward();
  }

  explicit operator bool() const { return static_cast<bool>(layer_); }
  DeviceLayer& layer() { return *layer_.operator->(); }
  Engine& engine() { return layer_.engine(); }
  DeviceLane& lane() { return layer_.lane(); }
  bool is_migrating() { return is_under_way(layer().migration().state); }

  void run() { EXPECT_EQ(forward(), expected_) << "epoch " << layer().placement().epoch(); }

  /// With sums in another order.
  void run_nearly() {
    const std::vector<float> y = forward();
    for (std::size_t i = 0; i < y.size(); ++i)
      ASSERT_NEAR(y[i], expected_[i], 1e-5F * (1 + std::abs(expected_[i])));
  }

  /// Until no migration is under way. Messages take their time, steps of no work next to none.
  void run_to_the_end() {
    constexpr int most_steps = 20'000;
    for (int step = 0; step < most_steps && is_migrating(); ++step) run();
    EXPECT_FALSE(is_migrating());
    run();
  }

 private:
  std::vector<float> forward() {
    const Routing given = routing_;
    return layer_.forward(x_, &given);
  }

  test::Share share_;
  test::OwnedRouting routing_;
  std::vector<float> x_;
  LayerOnDevice layer_;
  std::vector<float> expected_;
};

constexpr DeviceMigrationOptions patient{.bytes_per_step = 700, .patience_steps = 100'000};

LayerOnDevice::Options options_with_room(const RoutingCase& c, Dtype dtype) {
  LayerOnDevice::Options options;
  options.layer = test::with_room(c, dtype);
  return options;
}

/// With replicas; the same on every rank.
Placement next_of(const DeviceLayer& layer) {
  return test::random_placement(layer.spec().num_experts, layer.placement().num_ranks(),
                                layer.placement().epoch() + 1, test::Duplicates::none);
}

/// Runs `work` on every rank that has a device; where ranks have none, the test is skipped.
void on_every_device(const RoutingCase& c, const LayerOnDevice::Options& options,
                     const std::function<void(Communicator&, Steps&)>& work) {
  bool is_skipped = false;
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Steps steps(communicator, backend, c, options);
    if (steps) return work(communicator, steps);
    if (index(communicator.rank()) == 0) is_skipped = true;
  });
  if (is_skipped) GTEST_SKIP() << "no GPU";
}

TEST(DeviceLayerMigrationContract, OutputsHaveTheSameBitsInEveryStepOfEveryMigration) {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    const RoutingCase c = some_case(7);
    on_every_device(c, options_with_room(c, dtype), [](Communicator& communicator, Steps& steps) {
      std::size_t num_moves = 0, num_steps = 0;
      for (std::size_t time = 1; time <= 3; ++time) {
        steps.layer().migrate(next_of(steps.layer()), patient);
        steps.run_to_the_end();
        const MigrationReport& report = steps.layer().migration();
        EXPECT_EQ(report.state, MigrationState::switched) << report.reason;
        EXPECT_EQ(steps.layer().placement().epoch(), time);
        EXPECT_EQ(steps.layer().report().epoch, time);
        num_moves += report.num_moves;
        num_steps += report.num_steps;
      }
      if (communicator.size() == 1) return;
      EXPECT_GT(num_moves, 0U);
      EXPECT_GT(num_steps, num_moves / communicator.size());  // under its budget it took its time
    });
  }
}

TEST(DeviceLayerMigrationContract, CombinedFastExpertsMigrateToo) {
  const RoutingCase c = some_case(7);
  LayerOnDevice::Options options = options_with_room(c, Dtype::f32);
  options.layer.combine = Combine::fast;
  on_every_device(c, options, [](Communicator&, Steps& steps) {
    steps.layer().migrate(next_of(steps.layer()), patient);
    for (int step = 0; step < 20'000 && steps.is_migrating(); ++step) steps.run_nearly();
    steps.run_nearly();
    EXPECT_EQ(steps.layer().placement().epoch(), 1U);
  });
}

/// With as many slots as experts and one more each, so that every slot is needed again and again.
TEST(DeviceLayerMigrationContract, OneStagingSlotIsEnoughWhereOneExpertArrives) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    if (communicator.size() < 2) return;
    const RoutingCase c = some_case(communicator.size());
    LayerOnDevice::Options options;
    options.layer.staging_slots = 1;
    Steps steps(communicator, backend, c, options);
    if (!steps) return;
    for (int time = 0; time < 4; ++time) {
      steps.layer().migrate(shifted(steps.layer().placement()), {.patience_steps = 100'000});
      steps.run_to_the_end();
    }
    EXPECT_EQ(steps.layer().migration().num_switched, 4U);
    EXPECT_EQ(steps.layer().migration().num_cancelled, 0U);
  });
}

TEST(DeviceLayerMigrationContract, WhatTravelsIsWhatMovesInTheMemoryThatIsPlanned) {
  const RoutingCase c = some_case(11);
  on_every_device(c, options_with_room(c, Dtype::f32), [&](Communicator& communicator, Steps& steps) {
    DeviceLayer& layer = steps.layer();
    const std::size_t expert_bytes = DeviceWeights::expert_bytes(c.spec, Dtype::f32);
    std::size_t all_moves = 0;
    for (int time = 0; time < 2; ++time) {
      const Placement next = next_of(layer);
      const MigrationPlan plan = plan_migration(layer.placement(), next, communicator.topology());
      layer.migrate(next, patient);
      for (std::size_t sent = 0; steps.is_migrating(); sent = layer.migration().sent_bytes) {
        steps.run();
        EXPECT_LE(layer.migration().sent_bytes, sent + patient.bytes_per_step);
      }
      steps.run();
      const MigrationReport& report = layer.migration();
      EXPECT_EQ(report.num_moves, plan.moves.size());
      EXPECT_EQ(report.num_bytes, plan.moves.size() * expert_bytes);
      EXPECT_EQ(report.received_bytes, plan.num_received_by(communicator.rank()) * expert_bytes);
      all_moves += report.num_moves;
      EXPECT_EQ(report.switched_moves, all_moves);
      EXPECT_EQ(report.switched_bytes, all_moves * expert_bytes);
    }
    const DeviceSizes& sizes = steps.lane().sizes();
    MemoryPlan plan = DeviceWeights::plan_memory(c.spec, Dtype::f32, sizes.num_slots, sizes.most_slots);
    for (const auto& [name, bytes] : DeviceMigration::plan_memory(expert_bytes).by_name())
      plan.add(name, bytes);
    for (const auto& [name, bytes] : plan.by_name()) {
      const auto counted = steps.engine().memory().by_name().find(name);
      EXPECT_EQ(counted == steps.engine().memory().by_name().end() ? 0 : counted->second.peak_bytes, bytes)
          << name;
    }
  });
}

TEST(DeviceLayerMigrationContract, WhatCannotBeIsRefusedByAllAndNothingBegins) {
  const RoutingCase c = some_case(6);
  LayerOnDevice::Options options;
  options.layer.staging_slots = 1;
  on_every_device(c, options, [&](Communicator& communicator, Steps& steps) {
    const Placement& now = steps.layer().placement();
    const auto expect_refusal = [&](const std::string& words, const Placement& next,
                                    const DeviceMigrationOptions& how) {
      expect_shared_error(ErrorKind::invalid_input, words, [&] { steps.layer().migrate(next, how); });
    };
    expect_refusal("of epoch 0 cannot follow one of epoch 0", now, {});
    expect_refusal("at least a byte", shifted(now), {.bytes_per_step = 0});
    expect_refusal("the placement is of 5 experts", contiguous_placement(5, communicator.size()), {});
    std::vector<std::vector<ExpertId>> experts(communicator.size());
    for (std::size_t e = 0; e < 6; ++e) experts[0].push_back(expert_at(e));
    experts[0].push_back(expert_at(0));
    expect_refusal("rank 0 cannot hold 7 experts", Placement(1, 6, experts), {});
    EXPECT_EQ(steps.layer().migration().state, MigrationState::idle);
    steps.run();
  });
}

TEST(DeviceLayerMigrationContract, LayersWithoutRoomForItDoNotMigrate) {
  const RoutingCase c = some_case(6);
  on_every_device(c, {}, [](Communicator&, Steps& steps) {
    expect_shared_error(ErrorKind::invalid_input, "without spare or staging slots",
                        [&] { steps.layer().migrate(shifted(steps.layer().placement())); });
    steps.run();
  });
}

TEST(DeviceLayerMigrationContract, LayersOfALaneTakeTurnsMoveOnInOneAnothersStepsAndEnd) {
  const RoutingCase c = some_case(8);
  on_every_device(c, options_with_room(c, Dtype::f32), [&](Communicator& communicator, Steps& steps) {
    std::optional<DeviceLayer> other(
        std::in_place, steps.engine(), steps.lane(), c.spec, contiguous_placement(8, communicator.size()),
        test::GeneratedWeights(c.spec, test::weights_seed), steps.layer().options());
    other->migrate(shifted(other->placement()), {.bytes_per_step = 300, .patience_steps = 100'000});
    expect_shared_error(ErrorKind::invalid_input, "migrating already",
                        [&] { steps.layer().migrate(shifted(steps.layer().placement())); });
    for (int step = 0; step < 5; ++step) steps.run();
    EXPECT_TRUE(communicator.size() == 1 || other->migration().sent_bytes > 300);
    other.reset();  // what it still sends is sent on
    for (int step = 0; step < 5; ++step) steps.run();
    steps.layer().migrate(next_of(steps.layer()), patient);
    steps.run_to_the_end();
  });
}

}  // namespace
}  // namespace moewe
