#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

#include "runtime/halves.hpp"
#include "runtime/layer_memory.hpp"
#include "tests/support/layer_runs.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe::test {

/// With a shared expert, and experts that take several chunks of a few hundred bytes.
inline RoutingCase some_case(std::size_t experts) {
  RoutingCase c{"random", LayerSpec{{12, 10}, experts, {2, true}}, 41,
                [](std::size_t, std::size_t k, const auto& shuffled) { return shuffled[k]; }};
  c.spec.shared_intermediate = 9;
  return c;
}

/// Of one expert of such a layer in f32.
inline std::size_t expert_bytes() {
  MatmulCache matmuls;
  return plan_layer(some_case(1).spec, {}, {1}, matmuls).weights.by_name().at(expert_weights_name);
}

/// Room for any placement.
inline LayerOptions with_room(const RoutingCase& c, Dtype dtype) {
  LayerOptions options;
  options.dtype = dtype;
  options.spare_slots = c.spec.num_experts;
  return options;
}

/// Every rank's experts go to the next rank.
inline Placement shifted(const Placement& placement) {
  const std::size_t num_ranks = placement.num_ranks();
  std::vector<std::vector<ExpertId>> experts_of_rank(num_ranks);
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    const auto experts = placement.experts_of(rank_at(rank));
    experts_of_rank[(rank + 1) % num_ranks].assign(experts.begin(), experts.end());
  }
  return {placement.epoch() + 1, placement.num_experts(), std::move(experts_of_rank)};
}

inline bool is_migrating(const MoeLayer& layer) { return moewe::is_under_way(layer.migration().state); }

/// A layer, a rank's tokens for it, and what a layer that never migrates makes of them.
class Steps {
 public:
  Steps(Engine& engine, const RoutingCase& c, const LayerOptions& options)
      : share_(share_of(c.num_tokens, engine.communicator())),
        routing_(make_routing(c, share_.first, share_.count)),
        rows_(part_of(bf16_floats(c.num_tokens * c.spec.expert.hidden, 5), share_, c.spec.expert.hidden),
              options.dtype),
        y_(share_.count * c.spec.expert.hidden),
        layer_(engine, c.spec, contiguous_placement(c.spec.num_experts, engine.communicator().size()),
               GeneratedWeights(c.spec, weights_seed), options) {
    LayerOptions plain = options;
    plain.spare_slots = plain.staging_slots = 0;
    MoeLayer layer = make_layer(engine, c.spec, plain);
    layer.forward(rows_, routing_, y_);
    expected_ = y_;
  }

  MoeLayer& layer() { return layer_; }

  void run() {
    clear(y_);
    layer_.forward(rows_, routing_, y_);
    EXPECT_EQ(y_, expected_) << "epoch " << layer_.placement().epoch();
  }

  void run_in_halves() {
    clear(y_);
    const Routing routing = routing_;
    forward_in_halves(layer_, rows_, &routing, y_);
    EXPECT_EQ(y_, expected_) << "epoch " << layer_.placement().epoch();
  }

  /// Until no migration is under way.
  void run_to_the_end() {
    constexpr int most_steps = 400;
    for (int step = 0; step < most_steps && is_migrating(layer_); ++step) run();
    EXPECT_FALSE(is_migrating(layer_));
  }

  /// So many steps, of which one is always in flight when the next is started.
  void run_overlapping(int num_steps, const std::function<void()>& before_each) {
    std::array<std::vector<float>, 2> results{y_, y_};
    std::array<LayerStep, 2> steps;
    for (int i = 0; i <= num_steps; ++i) {
      const auto newer = static_cast<std::size_t>(i % 2), older = 1 - newer;
      before_each();
      clear(results[newer]);
      if (i < num_steps) steps[newer] = layer_.start(rows_, routing_, results[newer]);
      if (i == 0) continue;
      layer_.finish(steps[older]);
      EXPECT_EQ(results[older], expected_) << "step " << i;
    }
  }

 private:
  static void clear(std::vector<float>& y) {
    std::fill(y.begin(), y.end(), std::numeric_limits<float>::quiet_NaN());
  }

  Share share_;
  OwnedRouting routing_;
  StoredRows rows_;
  std::vector<float> y_;
  std::vector<float> expected_;
  MoeLayer layer_;
};

}  // namespace moewe::test
