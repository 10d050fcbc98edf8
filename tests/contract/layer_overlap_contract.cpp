#include <cstring>
#include <gtest/gtest.h>
#include <numeric>

#include "tests/support/layer_runs.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

using test::bf16_floats;
using test::forward;
using test::make_layer;
using test::make_routing;
using test::on_every_exchange;
using test::on_every_rank;
using test::OwnedRouting;
using test::part_of;
using test::RoutingCase;
using test::Share;
using test::share_of;
using test::StoredRows;

/// Some of a rank's tokens, from start to finish.
class Batch {
 public:
  Batch(const RoutingCase& c, const Share& share, Dtype dtype)
      : routing_(make_routing(c, share.first, share.count)),
        rows_(part_of(bf16_floats(c.num_tokens * c.spec.expert.hidden, 5), share, c.spec.expert.hidden),
              dtype),
        y_(share.count * c.spec.expert.hidden) {}

  void start(MoeLayer& layer) {
    std::fill(y_.begin(), y_.end(), std::numeric_limits<float>::quiet_NaN());
    step_ = layer.start(rows_, routing_, y_);
  }
  const std::vector<float>& finish(MoeLayer& layer) {
    layer.finish(step_);
    return y_;
  }
  std::vector<float> forward(MoeLayer& layer) {
    start(layer);
    return finish(layer);
  }

 private:
  OwnedRouting routing_;
  StoredRows rows_;
  std::vector<float> y_;
  LayerStep step_;
};

/// A rank's tokens in two batches, of different lengths.
struct Halves {
  Batch first, second;

  Halves(const RoutingCase& c, const Share& share, Dtype dtype)
      : first(c, {share.first, share.count / 3}, dtype),
        second(c, {share.first + share.count / 3, share.count - share.count / 3}, dtype) {}
};

LayerOptions options_of(Dtype dtype, Combine combine = Combine::reproducible) {
  LayerOptions options;
  options.dtype = dtype;
  options.combine = combine;
  return options;
}

RoutingCase with_shared_expert(RoutingCase c) {
  c.spec.shared_intermediate = 9;
  return c;
}

TEST(LayerOverlapContract, TwoHalfBatchesInFlightHaveTheBitsOfOneAfterTheOther) {
  on_every_exchange([&](Engine& engine) {
    std::size_t i = 0;
    for (const RoutingCase& plain : test::routing_cases()) {
      const RoutingCase c = ++i % 2 == 0 ? plain : with_shared_expert(plain);
      const Dtype dtype = i % 3 == 0 ? Dtype::bf16 : Dtype::f32;
      MoeLayer layer = make_layer(engine, c.spec, options_of(dtype));
      Halves halves(c, share_of(c.num_tokens, engine.communicator()), dtype);
      const std::vector<float> first = halves.first.forward(layer);
      const std::vector<float> second = halves.second.forward(layer);
      for (int time = 0; time < 3; ++time) {
        halves.first.start(layer);
        halves.second.start(layer);
        EXPECT_EQ(halves.first.finish(layer), first) << c.name;
        EXPECT_EQ(halves.second.finish(layer), second) << c.name;
      }
    }
  });
}

TEST(LayerOverlapContract, StepsOfDifferentLayersAlternateOnTheLanes) {
  const std::vector<RoutingCase> cases = test::routing_cases();
  on_every_exchange([&](Engine& engine) {
    MoeLayer narrow = make_layer(engine, cases[1].spec, options_of(Dtype::bf16));
    MoeLayer wide = make_layer(engine, cases[0].spec, options_of(Dtype::f32, Combine::fast));
    Halves a(cases[1], share_of(cases[1].num_tokens, engine.communicator()), Dtype::bf16);
    Halves b(cases[0], share_of(cases[0].num_tokens, engine.communicator()), Dtype::f32);
    const std::vector<float> a1 = a.first.forward(narrow), a2 = a.second.forward(narrow);
    const std::vector<float> b1 = b.first.forward(wide), b2 = b.second.forward(wide);
    // A chain: each step starts before the one before it is finished.
    a.first.start(narrow);
    for (int time = 0; time < 3; ++time) {
      b.first.start(wide);
      EXPECT_EQ(a.first.finish(narrow), a1);
      a.second.start(narrow);
      EXPECT_EQ(b.first.finish(wide), b1);
      b.second.start(wide);
      EXPECT_EQ(a.second.finish(narrow), a2);
      a.first.start(narrow);
      EXPECT_EQ(b.second.finish(wide), b2);
    }
    EXPECT_EQ(a.first.finish(narrow), a1);
  });
}

TEST(LayerOverlapContract, StepsInFlightCanEachTakeSeveralRounds) {
  const RoutingCase c = with_shared_expert(test::routing_cases().front());
  for (const auto& [name, unlimited] : test::exchanges()) {
    SCOPED_TRACE(name);
    on_every_rank([&](Communicator& communicator, const Backend& backend) {
      const Share share = share_of(c.num_tokens, communicator);
      Halves halves(c, share, Dtype::f32);
      std::vector<float> first, second;
      EngineOptions limited = unlimited;
      {
        Engine engine(communicator, backend, unlimited);
        MoeLayer layer = make_layer(engine, c.spec);
        // For each lane more than a token needs on every rank, and less than all tokens do on any.
        limited.memory_limit = engine.memory().bytes() + 2 * 24'000;
        first = halves.first.forward(layer);
        second = halves.second.forward(layer);
      }
      Engine engine(communicator, backend, limited);
      MoeLayer layer = make_layer(engine, c.spec);
      halves.first.start(layer);
      halves.second.start(layer);
      EXPECT_EQ(halves.first.finish(layer), first);
      EXPECT_EQ(halves.second.finish(layer), second);
      EXPECT_GT(layer.report().num_rounds, 1U);
    });
  }
}

TEST(LayerOverlapContract, AFinishedStepHoldsNoWeights) {
  const RoutingCase c = test::routing_cases().front();
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Engine engine(communicator, backend, {});
    Batch batch(c, share_of(c.num_tokens, communicator), Dtype::f32);
    {
      MoeLayer layer = make_layer(engine, c.spec);
      EXPECT_GT(engine.memory().by_name().at("expert weights").bytes, 0U);
      batch.forward(layer);
    }
    EXPECT_EQ(engine.memory().by_name().at("expert weights").bytes, 0U);
  });
}

TEST(LayerOverlapContract, StepsAreFinishedInTheOrderOfTheirStarts) {
  const RoutingCase c = test::routing_cases().front();
  on_every_exchange([&](Engine& engine) {
    MoeLayer layer = make_layer(engine, c.spec);
    Halves halves(c, share_of(c.num_tokens, engine.communicator()), Dtype::f32);
    const std::vector<float> first = halves.first.forward(layer);
    const std::vector<float> second = halves.second.forward(layer);
    halves.first.start(layer);
    halves.second.start(layer);
    EXPECT_THROW(halves.second.finish(layer), InvalidInput);
    EXPECT_EQ(halves.first.finish(layer), first);
    EXPECT_EQ(halves.second.finish(layer), second);
    EXPECT_THROW(halves.second.finish(layer), InvalidInput);
    EXPECT_EQ(halves.first.forward(layer), first);
  });
}

TEST(LayerOverlapContract, AStepWithoutAFreeLaneIsRefusedAndTheOthersGoOn) {
  const RoutingCase c = test::routing_cases().front();
  for (const std::size_t lanes : {1U, 2U, 3U}) {
    on_every_rank([&](Communicator& communicator, const Backend& backend) {
      EngineOptions options;
      options.lanes = lanes;
      Engine engine(communicator, backend, options);
      MoeLayer layer = make_layer(engine, c.spec);
      const Share share = share_of(c.num_tokens, communicator);
      std::vector<Batch> batches(lanes + 1, Batch(c, share, Dtype::f32));
      const std::vector<float> expected = batches[0].forward(layer);
      for (int time = 0; time < 2; ++time) {
        for (std::size_t i = 0; i < lanes; ++i) batches[i].start(layer);
        try {
          batches[lanes].start(layer);
          ADD_FAILURE() << "nothing was thrown";
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
          EXPECT_NE(std::string(error.what()).find(std::to_string(lanes) + " steps are in flight"),
                    std::string::npos)
              << error.what();
        }
        for (std::size_t i = 0; i < lanes; ++i) EXPECT_EQ(batches[i].finish(layer), expected);
      }
      EXPECT_EQ(batches[lanes].forward(layer), expected);
    });
  }
}

/// Row times (id of the expert + 1), in the type of the rows: exact in both for few experts.
void multiply_by_number(const LayerSpec& spec, Dtype dtype, ExpertId expert, std::span<const Row> rows) {
  const float factor = static_cast<float>(index(expert) + 1);
  std::vector<float> products(spec.expert.hidden);  // or as many bf16 in half of it
  auto* const output = reinterpret_cast<std::byte*>(products.data());
  for (const Row& row : rows) {
    for (std::size_t h = 0; h < spec.expert.hidden; ++h) {
      if (dtype == Dtype::f32) {
        products[h] = factor * reinterpret_cast<const float*>(row.input)[h];
      } else {
        const float product = factor * widen(reinterpret_cast<const Bf16*>(row.input)[h]);
        const Bf16 rounded = round_to_bf16(product);
        std::memcpy(output + h * sizeof rounded, &rounded, sizeof rounded);
      }
    }
    copy_row(output, row.output, spec.expert.hidden * bytes_of(dtype), row.stores);
  }
}

/// sum over k of weight * rounded(factor * x), in the order of k.
std::vector<float> multiplied(const RoutingCase& c, const Share& share, const std::vector<float>& x,
                              Dtype dtype) {
  const OwnedRouting routing = make_routing(c, share.first, share.count);
  std::vector<float> y(x.size(), 0.0F);
  const std::size_t hidden = c.spec.expert.hidden;
  for (std::size_t i = 0; i < routing.experts.size(); ++i) {
    const float factor = static_cast<float>(index(routing.experts[i]) + 1);
    for (std::size_t h = 0; h < hidden; ++h) {
      const std::size_t at = i / routing.top_k * hidden + h;
      const float output = factor * x[at];
      const float term = routing.weights[i] * (dtype == Dtype::bf16 ? widen(round_to_bf16(output)) : output);
      y[at] += term;
    }
  }
  return y;
}

TEST(LayerOverlapContract, ExpertsOfTheCallersOwnTakePartWithoutWeights) {
  on_every_exchange([&](Engine& engine) {
    const Rank self = engine.communicator().rank();
    const bool streams = engine.flow() && engine.flow()->output_stores == Stores::streaming;
    std::size_t num_streamed = 0;
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      for (const RoutingCase& c : test::routing_cases()) {
        const Placement placement = contiguous_placement(c.spec.num_experts, engine.communicator().size());
        std::size_t num_rows = 0;
        const ExpertFunction function = [&](ExpertId expert, std::span<const Row> rows) {
          EXPECT_EQ(placement.slot_of(expert).rank, self);
          num_rows += rows.size();
          for (const Row& row : rows) {
            if (row.stores == Stores::cached) continue;
            EXPECT_NE(row.source, self);
            ++num_streamed;
          }
          multiply_by_number(c.spec, dtype, expert, rows);
        };
        MoeLayer layer(engine, c.spec, placement, function, options_of(dtype));
        EXPECT_FALSE(layer.matmul_rows().has_value());
        const Share share = share_of(c.num_tokens, engine.communicator());
        const std::size_t hidden = c.spec.expert.hidden;
        const std::vector<float> x = part_of(bf16_floats(c.num_tokens * hidden, 5), share, hidden);
        const std::vector<float> y = forward(layer, x, make_routing(c, share.first, share.count));
        const std::vector<float> expected = multiplied(c, share, x, dtype);
        for (std::size_t i = 0; i < y.size(); ++i) ASSERT_FLOAT_EQ(y[i], expected[i]) << c.name;
        const auto& computed = layer.report().computed_per_slot;
        EXPECT_EQ(num_rows, static_cast<std::size_t>(std::accumulate(computed.begin(), computed.end(), 0L)));
      }
    }
    EXPECT_TRUE(num_streamed > 0 || !streams || engine.communicator().size() == 1);
  });
}

TEST(LayerOverlapContract, ExpertsOfTheCallersOwnNeedARoutingAndAFunction) {
  const LayerSpec spec{{16, 24}, 4, {2, true}};
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Engine engine(communicator, backend, {});
    const Placement placement = contiguous_placement(4, communicator.size());
    test::expect_shared_error(ErrorKind::invalid_input, "weights or an expert function",
                              [&] { MoeLayer(engine, spec, placement, ExpertFunction()); });
    MoeLayer layer(engine, spec, placement, [&](ExpertId expert, std::span<const Row> rows) {
      multiply_by_number(spec, Dtype::f32, expert, rows);
    });
    std::vector<float> x(16, 1.0F), y(16);
    test::expect_shared_error(ErrorKind::invalid_input, "needs a routing", [&] { layer.forward(x, y); });
    const OwnedRouting routing{1, 2, {ExpertId{3}, ExpertId{0}}, {0.5F, 0.25F}};
    layer.forward(x, routing, y);
    EXPECT_EQ(y, std::vector<float>(16, 2.25F));
  });
}

/// A layer with experts of its own and one with a caller's do not mix on different ranks.
TEST(LayerOverlapContract, AnExpertFunctionOnSomeRanksOnlyIsSaid) {
  const LayerSpec spec{{16, 24}, 4, {2, true}};
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    if (communicator.size() == 1) return;
    Engine engine(communicator, backend, {});
    test::expect_shared_error(ErrorKind::disagreement, "own expert function", [&] {
      if (communicator.rank() == Rank{0}) {
        make_layer(engine, spec);
      } else {
        MoeLayer(engine, spec, contiguous_placement(4, communicator.size()),
                 [](ExpertId, std::span<const Row>) {});
      }
    });
  });
}

TEST(LayerOverlapContract, HalvesOfTheRanksRunLayersOfTheirOwn) {
  const RoutingCase c = test::routing_cases().front();
  const std::vector<float> x = bf16_floats(c.num_tokens * c.spec.expert.hidden, 5);
  std::vector<float> expected;
  test::with_engine_of_one_rank([&](Engine& engine) {
    MoeLayer layer = make_layer(engine, c.spec);
    expected = forward(layer, x, make_routing(c, 0, c.num_tokens));
  });
  for (const auto& [name, options] : test::exchanges()) {
    SCOPED_TRACE(name);
    const bool is_split = test::on_both_halves([&](Communicator& communicator, const Backend& backend) {
      Engine engine(communicator, backend, options);
      MoeLayer layer = make_layer(engine, c.spec);
      const Share share = share_of(c.num_tokens, communicator);
      const std::vector<float> mine = part_of(x, share, c.spec.expert.hidden);
      const OwnedRouting routing = make_routing(c, share.first, share.count);
      for (int step = 0; step < 3; ++step) {
        EXPECT_EQ(forward(layer, mine, routing), part_of(expected, share, c.spec.expert.hidden));
      }
    });
    if (!is_split) GTEST_SKIP() << "threads have one world";
  }
}

}  // namespace
}  // namespace moewe
