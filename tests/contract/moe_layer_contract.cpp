#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>

#include "tests/support/layer_runs.hpp"
#include "tests/support/oracle.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

using test::exchanges;
using test::expect_shared_error;
using test::first_token;
using test::GeneratedWeights;
using test::make_routing;
using test::on_every_rank;
using test::random_floats;
using test::RoutingCase;

constexpr std::uint64_t seed = test::weights_seed;

/// All tokens of a case through one layer on one rank.
std::vector<float> on_one_rank(const RoutingCase& c, const Routing& routing, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  run_ranks(1, test::patience, [&](Communicator& communicator) {
    Engine engine(communicator, loopback_backend(), {});
    MoeLayer layer(engine, c.spec, contiguous_placement(c.spec.num_experts, 1),
                   GeneratedWeights(c.spec, seed));
    layer.forward(x, routing, y);
  });
  return y;
}

TEST(MoeLayerContract, HasTheBitsOfOneRankOnAnyPathInAnyChunks) {
  for (const RoutingCase& c : test::routing_cases()) {
    const std::vector<float> x = random_floats(c.num_tokens * c.spec.expert.hidden, 5);
    const std::vector<float> expected = on_one_rank(c, make_routing(c, 0, c.num_tokens), x);
    for (const auto& [name, options] : exchanges()) {
      SCOPED_TRACE(c.name + ", " + name);
      on_every_rank([&](Communicator& communicator, const Backend& backend) {
        const std::size_t hidden = c.spec.expert.hidden;
        const std::size_t first = first_token(c.num_tokens, index(communicator.rank()), communicator.size());
        const std::size_t end =
            first_token(c.num_tokens, index(communicator.rank()) + 1, communicator.size());
        const std::vector<float> mine(x.begin() + static_cast<std::ptrdiff_t>(first * hidden),
                                      x.begin() + static_cast<std::ptrdiff_t>(end * hidden));
        const std::vector<float> of_mine(expected.begin() + static_cast<std::ptrdiff_t>(first * hidden),
                                         expected.begin() + static_cast<std::ptrdiff_t>(end * hidden));
        Engine engine(communicator, backend, options);
        MoeLayer layer(engine, c.spec, contiguous_placement(c.spec.num_experts, communicator.size()),
                       GeneratedWeights(c.spec, seed));
        const test::OwnedRouting routing = make_routing(c, first, end - first);
        for (int step = 0; step < 3; ++step) {
          std::vector<float> y(mine.size(), std::numeric_limits<float>::quiet_NaN());
          layer.forward(mine, routing, y);
          EXPECT_EQ(y, of_mine) << "step " << step;
        }
      });
    }
  }
}

TEST(MoeLayerContract, OneRankComputesWhatPlainLoopsDo) {
  for (const RoutingCase& c : test::routing_cases()) {
    SCOPED_TRACE(c.name);
    const std::vector<float> x = random_floats(c.num_tokens * c.spec.expert.hidden, 5);
    const test::OwnedRouting routing = make_routing(c, 0, c.num_tokens);
    const std::vector<float> y = on_one_rank(c, routing, x);
    const std::vector<double> expected = test::plain_moe(c.spec, GeneratedWeights(c.spec, seed), routing, x);
    for (std::size_t i = 0; i < y.size(); ++i)
      EXPECT_NEAR(y[i], expected[i], 2e-6 * (1 + std::abs(expected[i])));
  }
}

TEST(MoeLayerContract, AnyPlacementGivesTheSameBits) {
  const RoutingCase c = test::routing_cases().front();
  const std::vector<float> x = random_floats(c.num_tokens * c.spec.expert.hidden, 5);
  const std::vector<float> expected = on_one_rank(c, make_routing(c, 0, c.num_tokens), x);
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    // All on the last rank but one expert each on the others, in reverse order.
    std::vector<std::vector<ExpertId>> experts(communicator.size());
    for (std::size_t e = c.spec.num_experts; e-- > 0;) {
      experts[e < communicator.size() ? e : communicator.size() - 1].push_back(expert_at(e));
    }
    Engine engine(communicator, backend, {});
    MoeLayer layer(engine, c.spec, Placement(3, c.spec.num_experts, experts), GeneratedWeights(c.spec, seed));
    const bool is_first = communicator.rank() == Rank{0};
    const std::vector<float> mine = is_first ? x : std::vector<float>{};
    std::vector<float> y(mine.size());
    layer.forward(mine, make_routing(c, 0, is_first ? c.num_tokens : 0), y);
    EXPECT_EQ(y, is_first ? expected : std::vector<float>{});
  });
}

TEST(MoeLayerContract, LayersOfDifferentSizesShareAnEngine) {
  const std::vector<RoutingCase> cases = test::routing_cases();
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Engine engine(communicator, backend, {});
    std::vector<std::unique_ptr<MoeLayer>> layers;
    for (const RoutingCase& c : cases) {
      layers.push_back(std::make_unique<MoeLayer>(
          engine, c.spec, contiguous_placement(c.spec.num_experts, communicator.size()),
          GeneratedWeights(c.spec, seed)));
    }
    for (std::size_t i = 0; i < 2 * cases.size(); ++i) {
      const RoutingCase& c = cases[i % cases.size()];
      const std::vector<float> x = random_floats(c.num_tokens * c.spec.expert.hidden, i);
      std::vector<float> y(x.size());
      const test::OwnedRouting routing = make_routing(c, 0, c.num_tokens);
      layers[i % cases.size()]->forward(x, routing, y);
      EXPECT_EQ(y, on_one_rank(c, routing, x)) << c.name;
    }
  });
}

TEST(MoeLayerContract, CountsWhatEachRankComputed) {
  const RoutingCase c = test::routing_cases().front();
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    const Placement placement = contiguous_placement(c.spec.num_experts, communicator.size());
    Engine engine(communicator, backend, {});
    MoeLayer layer(engine, c.spec, placement, GeneratedWeights(c.spec, seed));
    const std::vector<float> x = random_floats(c.num_tokens * c.spec.expert.hidden, 5);
    std::vector<float> y(x.size());
    const test::OwnedRouting routing = make_routing(c, 0, c.num_tokens);  // the same tokens on every rank
    layer.forward(x, routing, y);
    const std::vector<std::int64_t> counts = count_assignments(routing, c.spec.num_experts);
    const auto mine = placement.experts_of(communicator.rank());
    ASSERT_EQ(layer.report().computed_per_slot.size(), mine.size());
    for (std::size_t slot = 0; slot < mine.size(); ++slot) {
      const auto expected = counts[index(mine[slot])] * static_cast<std::int64_t>(communicator.size());
      EXPECT_EQ(layer.report().computed_per_slot[slot], expected);
      EXPECT_EQ(layer.report().assignments_per_expert[index(mine[slot])], expected);
    }
  });
}

TEST(MoeLayerContract, AStepWithoutTokensEndsWithTheAgreement) {
  const RoutingCase c = test::routing_cases().front();
  const std::vector<float> x = random_floats(c.num_tokens * c.spec.expert.hidden, 5);
  const test::OwnedRouting routing = make_routing(c, 0, c.num_tokens);
  const std::vector<float> expected = on_one_rank(c, routing, x);
  for (const auto& [name, options] : exchanges()) {
    SCOPED_TRACE(name);
    on_every_rank([&](Communicator& communicator, const Backend& backend) {
      Engine engine(communicator, backend, options);
      MoeLayer layer(engine, c.spec, contiguous_placement(c.spec.num_experts, communicator.size()),
                     GeneratedWeights(c.spec, seed));
      const auto num_computed = [&] {
        const std::vector<std::int64_t>& computed = layer.report().computed_per_slot;
        return std::accumulate(computed.begin(), computed.end(), std::int64_t{0});
      };
      const auto run_empty = [&] {
        LayerStep step = layer.start(TokenRows(std::span<const float>()), make_routing(c, 0, 0), {});
        layer.compute(step);
        layer.finish(step);
        EXPECT_EQ(layer.report().num_rounds, 0U);
        EXPECT_EQ(num_computed(), 0);
      };
      const std::size_t planned_before = engine.planned_memory().total();
      run_empty();
      EXPECT_EQ(engine.planned_memory().total(), planned_before);
      for (int i = 0; i < 2; ++i) {
        std::vector<float> y(x.size());
        layer.forward(x, routing, y);
        EXPECT_EQ(y, expected);
        EXPECT_EQ(layer.report().num_rounds, 1U);
        EXPECT_GT(num_computed(), 0);
        run_empty();
      }
    });
  }
}

TEST(MoeLayerContract, AnUnusableInputOnOneRankFailsAllAndLeavesTheLayerUsable) {
  const LayerSpec spec{{16, 24}, 8, {2, true}};
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Engine engine(communicator, backend, {});
    MoeLayer layer(engine, spec, contiguous_placement(8, communicator.size()), GeneratedWeights(spec, seed));
    std::vector<float> x = random_floats(4 * 16, 5);
    std::vector<float> y(x.size());
    if (communicator.rank() == Rank{0}) x[2 * 16 + 3] = std::numeric_limits<float>::quiet_NaN();
    expect_shared_error(ErrorKind::invalid_input, "token 2", [&] { layer.forward(x, y); });
    expect_shared_error(ErrorKind::invalid_input, "not both",
                        [&] { layer.forward(std::span(x.data(), 17), y); });
    const test::OwnedRouting wrong{4, 2, std::vector<ExpertId>(8, ExpertId{8}), std::vector<float>(8, 0.5F)};
    expect_shared_error(ErrorKind::invalid_input, "expert 8", [&] { layer.forward(x, wrong, y); });
    x[2 * 16 + 3] = 0;
    layer.forward(x, y);
    for (const float value : y) EXPECT_TRUE(std::isfinite(value));
  });
}

TEST(MoeLayerContract, RanksThatRunDifferentLayersAreToldSo) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    if (communicator.size() == 1) return;
    Engine engine(communicator, backend, {});
    const LayerSpec small{{16, 24}, 4, {2, true}};
    const LayerSpec large{{16, 24}, 9, {3, true}};
    MoeLayer a(engine, small, contiguous_placement(4, communicator.size()), GeneratedWeights(small, seed));
    MoeLayer b(engine, large, contiguous_placement(9, communicator.size()), GeneratedWeights(large, seed));
    std::vector<float> x(16), y(16);
    MoeLayer& layer = communicator.rank() == Rank{1} ? b : a;
    expect_shared_error(ErrorKind::disagreement, "layer: 0 on rank 0", [&] { layer.forward(x, y); });
    a.forward(x, y);  // still in step
  });
}

TEST(MoeLayerContract, RanksThatConstructDifferentLayersAreToldSo) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    if (communicator.size() == 1) return;
    Engine engine(communicator, backend, {});
    const std::size_t experts = communicator.rank() == Rank{0} ? 4 : 5;
    const LayerSpec spec{{16, 24}, experts, {2, true}};
    expect_shared_error(ErrorKind::disagreement, "number of experts: 4 on rank 0, 5 on rank 1", [&] {
      MoeLayer(engine, spec, contiguous_placement(experts, communicator.size()),
               GeneratedWeights(spec, seed));
    });

    const LayerSpec same{{16, 24}, 4, {2, true}};
    std::vector<std::vector<ExpertId>> selfish(communicator.size());  // every rank believes that it holds all
    for (std::size_t e = 0; e < 4; ++e) selfish[index(communicator.rank())].push_back(expert_at(e));
    expect_shared_error(ErrorKind::disagreement, "placement", [&] {
      MoeLayer(engine, same, Placement(0, 4, selfish), GeneratedWeights(same, seed));
    });

    // The engine is still in step: another layer is constructed and runs.
    MoeLayer layer(engine, same, contiguous_placement(4, communicator.size()), GeneratedWeights(same, seed));
    std::vector<float> x(16, 0.5F), y(16);
    layer.forward(x, y);
  });
}

TEST(MoeLayerContract, AnotherTopKOnOneRankIsSaidOnAll) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    if (communicator.size() == 1) return;
    Engine engine(communicator, backend, {});
    const bool is_other = communicator.rank() == Rank{1};
    const LayerSpec odd{{16, 24}, 4, {is_other ? 3U : 2U, true}};
    expect_shared_error(ErrorKind::disagreement, "top-k: 2 on rank", [&] {
      MoeLayer(engine, odd, contiguous_placement(4, communicator.size()), GeneratedWeights(odd, seed));
    });

    const LayerSpec spec{{16, 24}, 4, {2, true}};
    MoeLayer layer(engine, spec, contiguous_placement(4, communicator.size()), GeneratedWeights(spec, seed));
    const std::size_t top_k = is_other ? 3 : 2;
    const std::vector<ExpertId> experts{ExpertId{0}, ExpertId{1}, ExpertId{2}};
    const std::vector<float> weights{0.5F, 0.3F, 0.2F};
    const Routing routing{1, top_k, std::span(experts).first(top_k), std::span(weights).first(top_k), {}};
    std::vector<float> x(16), y(16);
    expect_shared_error(ErrorKind::invalid_input, "with top-3", [&] { layer.forward(x, routing, y); });
    layer.forward(x, y);  // still in step
  });
}

TEST(MoeLayerContract, ConstructingOnOneRankWhileAnotherRunsAStepIsSaid) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    if (communicator.size() == 1) return;
    const LayerSpec spec{{16, 24}, 4, {2, true}};
    Engine engine(communicator, backend, {});
    MoeLayer layer(engine, spec, contiguous_placement(4, communicator.size()), GeneratedWeights(spec, seed));
    std::vector<float> x(16), y(16);
    expect_shared_error(ErrorKind::disagreement, "operation", [&] {
      if (communicator.rank() == Rank{0}) {
        layer.forward(x, y);
      } else {
        MoeLayer(engine, spec, contiguous_placement(4, communicator.size()), GeneratedWeights(spec, seed));
      }
    });
  });
}

TEST(MoeLayerContract, RefusesSizesAndPlacementsThatMakeNoLayer) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Engine engine(communicator, backend, {});
    const auto construct = [&](const LayerSpec& spec, const Placement& placement) {
      MoeLayer(engine, spec, placement, GeneratedWeights(spec, seed));
    };
    const Placement placement = contiguous_placement(4, communicator.size());
    const std::vector<LayerSpec> bad{{{0, 24}, 4, {2, true}},
                                     {{16, 0}, 4, {2, true}},
                                     {{16, 24}, 4, {0, true}},
                                     {{16, 24}, 4, {5, true}},
                                     {{16, 24}, 0, {0, true}}};
    for (const LayerSpec& spec : bad) {
      expect_shared_error(ErrorKind::invalid_input, "a layer: ", [&] { construct(spec, placement); });
    }
    const LayerSpec good{{16, 24}, 4, {2, true}};
    expect_shared_error(ErrorKind::invalid_input, "placement",
                        [&] { construct(good, contiguous_placement(4, communicator.size() + 1)); });
    expect_shared_error(ErrorKind::invalid_input, "placement",
                        [&] { construct(good, contiguous_placement(5, communicator.size())); });
  });
}

TEST(EngineContract, RanksThatAskForDifferentExchangesAreToldSo) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    if (communicator.size() == 1) return;
    EngineOptions options;
    options.exchange.path = communicator.rank() == Rank{0} ? PathRequest::direct : PathRequest::message;
    expect_shared_error(ErrorKind::disagreement, "path", [&] { Engine(communicator, backend, options); });
  });
}

}  // namespace
}  // namespace moewe
