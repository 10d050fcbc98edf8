#include <algorithm>
#include <gtest/gtest.h>
#include <numeric>

#include "runtime/halves.hpp"
#include "tests/support/layer_runs.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

using test::bf16_floats;
using test::make_layer;
using test::make_routing;
using test::on_every_exchange;
using test::OwnedRouting;
using test::part_of;
using test::RoutingCase;
using test::Share;
using test::share_of;
using test::StoredRows;

/// A rank's tokens of a case, and a layer for them.
class Tokens {
 public:
  Tokens(const RoutingCase& c, Engine& engine, Dtype dtype)
      : share_(share_of(c.num_tokens, engine.communicator())),
        routing_(make_routing(c, share_.first, share_.count)),
        rows_(part_of(bf16_floats(c.num_tokens * c.spec.expert.hidden, 5), share_, c.spec.expert.hidden),
              dtype),
        y_(share_.count * c.spec.expert.hidden) {}

  std::vector<float> forward(MoeLayer& layer) {
    clear();
    layer.forward(rows_, routing_, y_);
    return y_;
  }
  HalvesOutcome in_halves(MoeLayer& layer) {
    clear();
    const Routing routing = routing_;
    return forward_in_halves(layer, rows_, &routing, y_);
  }
  const std::vector<float>& results() const { return y_; }
  OwnedRouting& routing() { return routing_; }

 private:
  void clear() { std::fill(y_.begin(), y_.end(), std::numeric_limits<float>::quiet_NaN()); }

  Share share_;
  OwnedRouting routing_;
  StoredRows rows_;
  std::vector<float> y_;
};

RoutingCase with_shared_expert(RoutingCase c) {
  c.spec.shared_intermediate = 9;
  return c;
}

LayerOptions options_of(Dtype dtype, bool overlap = true) {
  LayerOptions options;
  options.dtype = dtype;
  options.overlap = overlap;
  return options;
}

template <typename T>
std::vector<T> joined(std::span<const T> a, std::span<const T> b) {
  std::vector<T> all(a.begin(), a.end());
  all.insert(all.end(), b.begin(), b.end());
  return all;
}

TEST(LayerHalvesContract, HaveTheBitsAndTheAccountOfTheWhole) {
  on_every_exchange([&](Engine& engine) {
    std::size_t i = 0;
    for (const RoutingCase& plain : test::routing_cases()) {
      const RoutingCase c = ++i % 2 == 0 ? plain : with_shared_expert(plain);
      const Dtype dtype = i % 3 == 0 ? Dtype::bf16 : Dtype::f32;
      MoeLayer layer = make_layer(engine, c.spec, options_of(dtype));
      Tokens tokens(c, engine, dtype);
      const std::vector<float> expected = tokens.forward(layer);
      const StepReport whole = layer.report();
      const HalvesOutcome outcome = tokens.in_halves(layer);
      EXPECT_EQ(tokens.results(), expected) << c.name;
      EXPECT_EQ(outcome.report.assignments_per_expert, whole.assignments_per_expert) << c.name;
      EXPECT_TRUE(std::ranges::equal(outcome.report.kept_per_expert(), whole.kept_per_expert())) << c.name;
      EXPECT_EQ(outcome.report.computed_per_slot, whole.computed_per_slot) << c.name;
      EXPECT_EQ(joined(outcome.routings[0].experts, outcome.routings[1].experts), tokens.routing().experts);
    }
  });
}

TEST(LayerHalvesContract, AreRoutedByTheRouterAsTheWholeIs) {
  const RoutingCase c = with_shared_expert(test::routing_cases().front());
  on_every_exchange([&](Engine& engine) {
    MoeLayer layer = make_layer(engine, c.spec);
    const Share share = share_of(c.num_tokens, engine.communicator());
    const std::size_t hidden = c.spec.expert.hidden;
    const std::vector<float> x = part_of(bf16_floats(c.num_tokens * hidden, 5), share, hidden);
    std::vector<float> whole(x.size()), halves(x.size());
    layer.forward(x, whole);
    const std::vector<ExpertId> experts(layer.routing().experts.begin(), layer.routing().experts.end());
    const std::vector<float> weights(layer.routing().weights.begin(), layer.routing().weights.end());
    const HalvesOutcome outcome = forward_in_halves(layer, x, nullptr, halves);
    EXPECT_EQ(halves, whole);
    EXPECT_EQ(joined(outcome.routings[0].experts, outcome.routings[1].experts), experts);
    EXPECT_EQ(joined(outcome.routings[0].weights, outcome.routings[1].weights), weights);
  });
}

TEST(LayerHalvesContract, ALayerWithoutOverlapHasTheSameBits) {
  on_every_exchange([&](Engine& engine) {
    for (const RoutingCase& plain : test::routing_cases()) {
      const RoutingCase c = with_shared_expert(plain);
      MoeLayer with = make_layer(engine, c.spec);
      MoeLayer without = make_layer(engine, c.spec, options_of(Dtype::f32, false));
      Tokens tokens(c, engine, Dtype::f32);
      const std::vector<float> expected = tokens.forward(with);
      for (int time = 0; time < 2; ++time) EXPECT_EQ(tokens.forward(without), expected) << c.name;
      tokens.in_halves(without);
      EXPECT_EQ(tokens.results(), expected) << c.name;
    }
  });
}

TEST(LayerHalvesContract, OfABoundedCapacityAreRefused) {
  const RoutingCase c = test::routing_cases().front();
  on_every_exchange([&](Engine& engine) {
    LayerOptions options;
    options.capacity = CapacityOptions{};
    MoeLayer layer = make_layer(engine, c.spec, options);
    Tokens tokens(c, engine, Dtype::f32);
    test::expect_shared_error(ErrorKind::invalid_input, "cannot run in halves",
                              [&] { tokens.in_halves(layer); });
    tokens.forward(layer);
  });
}

/// What is wrong with the second half alone ends the first in good order.
TEST(LayerHalvesContract, AfterARefusalTheLayerIsUsable) {
  const RoutingCase c = test::routing_cases().front();
  on_every_exchange([&](Engine& engine) {
    MoeLayer layer = make_layer(engine, c.spec);
    Tokens tokens(c, engine, Dtype::f32);
    const std::vector<float> expected = tokens.forward(layer);
    const bool is_last = index(engine.communicator().rank()) + 1 == engine.communicator().size();
    auto& experts = tokens.routing().experts;
    ASSERT_TRUE(!is_last || experts.size() >= 2 * tokens.routing().top_k);
    for (const std::size_t place : {std::size_t{0}, experts.size() - 1}) {
      const ExpertId right = experts.empty() ? ExpertId{} : experts[place];
      if (is_last) experts[place] = ExpertId{1 << 20};
      test::expect_shared_error(ErrorKind::invalid_input, "expert 1048576", [&] { tokens.in_halves(layer); });
      if (is_last) experts[place] = right;
      tokens.in_halves(layer);
      EXPECT_EQ(tokens.results(), expected);
    }
  });
}

TEST(LayerHalvesContract, WhatDoesNotFitTogetherIsSaidOnEveryRank) {
  const RoutingCase c = test::routing_cases().front();
  on_every_exchange([&](Engine& engine) {
    MoeLayer layer = make_layer(engine, c.spec);
    Tokens tokens(c, engine, Dtype::f32);
    const std::vector<float> expected = tokens.forward(layer);
    if (engine.communicator().rank() == Rank{0}) ++tokens.routing().num_tokens;
    test::expect_shared_error(ErrorKind::invalid_input, "tokens with top-", [&] { tokens.in_halves(layer); });
    if (engine.communicator().rank() == Rank{0}) --tokens.routing().num_tokens;
    tokens.in_halves(layer);
    EXPECT_EQ(tokens.results(), expected);
  });
}

}  // namespace
}  // namespace moewe
