// Steps of layers on devices as graphs, beside the same steps as they are otherwise run there.

#include <atomic>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/graph_layers.hpp"
#include "tests/support/random_placement.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

using test::expect_shared_error;
using test::GraphSteps;
using test::LayerOnDevice;
using test::make_routing;
using test::on_every_rank;
using test::part_of;
using test::RoutingCase;
using test::share_of;

LayerOnDevice::Options in(Dtype dtype) {
  LayerOnDevice::Options options;
  options.layer.dtype = dtype;
  return options;
}

using PlacementOf = std::function<Placement(std::size_t num_experts, std::size_t num_ranks)>;

/// Runs `work` on every rank; where one has no GPU, the test is skipped.
template <typename Work>
void on_every_device(const LayerSpec& spec, const LayerOnDevice::Options& options, Work&& work,
                     const PlacementOf& placement = contiguous_placement) {
  bool is_skipped = false;
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    LayerOnDevice layer(communicator, backend, spec, placement(spec.num_experts, communicator.size()),
                        options);
    if (layer) return work(layer);
    if (index(communicator.rank()) == 0) is_skipped = true;
  });
  if (is_skipped) GTEST_SKIP() << "no GPU";
}

LayerSpec spec_of_everything() {
  LayerSpec spec{{40, 24, Activation::gelu, true}, 16, {4, true}, 20};
  spec.router.score = Score::sigmoid;
  spec.router.has_selection_bias = true;
  spec.router.num_groups = 4;
  spec.router.kept_groups = 2;
  spec.router.scale = 1.5F;
  return spec;
}

std::vector<float> input(const LayerOnDevice& layer, std::size_t num_tokens, std::uint64_t seed) {
  return test::bf16_floats(num_tokens * layer->spec().expert.hidden, seed);
}

TEST(DeviceGraphContract, BucketsDoubleUpToTheMost) {
  EXPECT_EQ(graph_buckets(1), (std::vector<std::size_t>{1}));
  EXPECT_EQ(graph_buckets(8), (std::vector<std::size_t>{8}));
  EXPECT_EQ(graph_buckets(100), (std::vector<std::size_t>{8, 16, 32, 64, 100}));
}

TEST(DeviceGraphContract, GivenRoutingsHaveTheBitsOfEagerSteps) {
  for (const RoutingCase& c : test::routing_cases()) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      SCOPED_TRACE(c.name + ", " + name_of(dtype));
      const std::size_t hidden = c.spec.expert.hidden;
      const std::vector<float> x = test::bf16_floats(c.num_tokens * hidden, 5);
      on_every_device(c.spec, in(dtype), [&](LayerOnDevice& layer) {
        const test::Share share = share_of(c.num_tokens, layer.engine().communicator());
        const test::OwnedRouting owned = make_routing(c, share.first, share.count);
        const Routing routing = owned;
        const std::vector<float> mine = part_of(x, share, hidden);
        const std::vector<float> expected = layer.forward(mine, &routing);
        GraphLane lane(layer.engine(), layer.lane());
        GraphLayer graphs(lane, *layer.operator->(), true);
        const test::StoredRows rows(mine, dtype);
        for (int step = 0; step < 2; ++step) {
          std::vector<float> y(mine.size());
          graphs.forward(rows, &routing, y, c.num_tokens);
          EXPECT_EQ(y, expected) << "step " << step;
        }
        EXPECT_TRUE(std::ranges::equal(graphs.computed_per_slot(), layer->report().computed_per_slot));
      });
    }
  }
}

TEST(DeviceGraphContract, CopiesOfExpertsHaveTheSameBits) {
  const RoutingCase c = test::routing_cases().front();
  const auto placement = [](std::size_t experts, std::size_t ranks) {
    return test::random_placement(experts, ranks, 3);
  };
  on_every_device(
      c.spec, in(Dtype::bf16),
      [&](LayerOnDevice& layer) {
        const test::Share share = share_of(c.num_tokens, layer.engine().communicator());
        const test::OwnedRouting owned = make_routing(c, share.first, share.count);
        const Routing routing = owned;
        const std::vector<float> x = input(layer, share.count, share.first);
        const std::vector<float> expected = layer.forward(x, &routing);
        GraphLane lane(layer.engine(), layer.lane());
        GraphSteps steps(layer, lane, true);
        steps.launch(x, c.num_tokens, &routing);
        EXPECT_EQ(steps.result(0), steps.with_rest(expected));
      },
      placement);
}

/// Tokens of a rank in a step: any number up to `most`, on some ranks and in some steps none.
std::size_t num_tokens_of(Rank rank, std::size_t step, std::size_t most) {
  const std::size_t drawn = (step * 2654435761U + index(rank) * 40503U) >> 4U;
  return drawn % 5 == 0 ? 0 : drawn % (most + 1);
}

TEST(DeviceGraphContract, HundredsOfLaunchesHaveTheBitsOfEagerSteps) {
  constexpr std::size_t num_steps = 200, most = 40;
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    LayerOnDevice::Options options = in(dtype);
    options.max_tokens = most;
    on_every_device(spec_of_everything(), options, [&](LayerOnDevice& layer) {
      const Rank rank = layer.engine().communicator().rank();
      const auto tokens = [&](std::size_t step) {
        return input(layer, num_tokens_of(rank, step, most >> step % 4), 100 * step + index(rank));
      };
      std::vector<std::vector<float>> expected;
      for (std::size_t step = 0; step < num_steps; ++step) expected.push_back(layer.forward(tokens(step)));
      GraphLane lane(layer.engine(), layer.lane());
      GraphSteps steps(layer, lane, false, num_steps);
      for (std::size_t step = 0; step < num_steps; ++step) steps.launch(tokens(step), most >> step % 4);
      for (std::size_t step = 0; step < num_steps; ++step)
        EXPECT_EQ(steps.result(step), steps.with_rest(expected[step])) << "step " << step;
      EXPECT_TRUE(lane.poll().empty());
      EXPECT_EQ(lane.num_launched(), steps.graphs().buckets().size() + num_steps);
    });
  }
}

TEST(DeviceGraphContract, EagerStepsAndGraphsOfOtherEpochsTakeTurns) {
  const LayerSpec spec{{16, 24}, 8, {2, true}, 12};
  const auto reversed = [](std::size_t experts, std::size_t ranks) {
    std::vector<std::vector<ExpertId>> of_rank(ranks);
    for (std::size_t e = 0; e < experts; ++e) of_rank[(experts - 1 - e) % ranks].push_back(expert_at(e));
    return Placement(1, experts, of_rank);
  };
  LayerOnDevice::Options options;
  options.num_slots = spec.num_experts;
  on_every_device(spec, options, [&](LayerOnDevice& layer) {
    Communicator& communicator = layer.engine().communicator();
    DeviceLayer other(layer.engine(), layer.lane(), spec, reversed(spec.num_experts, communicator.size()),
                      test::GeneratedWeights(spec, test::weights_seed));
    GraphLane lane(layer.engine(), layer.lane());
    GraphLayer first(lane, *layer.operator->(), false);
    GraphLayer second(lane, other, false);
    for (std::uint64_t step = 0; step < 4; ++step) {
      const std::vector<float> x = input(layer, 3 + index(communicator.rank()) % 3, step);
      const std::vector<float> expected = layer.forward(x);
      std::vector<float> y(x.size());
      for (GraphLayer* const graphs : {&second, &first, &second}) {
        std::ranges::fill(y, 0.0F);
        graphs->forward(x, nullptr, y, 6);
        EXPECT_EQ(y, expected);
      }
    }
  });
}

TEST(DeviceGraphContract, WeightsThatChangeInTheirPlaceCountFromTheNextLaunchOn) {
  const LayerSpec spec{{16, 24}, 8, {2, true}};
  on_every_device(spec, {}, [&](LayerOnDevice& layer) {
    GraphLane lane(layer.engine(), layer.lane());
    GraphLayer graphs(lane, *layer.operator->(), false);
    const std::vector<float> x = input(layer, 9, 1);
    const std::vector<float> before = layer.forward(x);
    std::byte* first = nullptr;  // where the first slot's weights lie, if there is one
    if (!layer->placement().experts_of(layer.engine().communicator().rank()).empty()) {
      layer.lane().queue().copy(&first, layer->weights().experts().in, sizeof first);
      layer.lane().wait();
      layer.lane().queue().fill(first, 0, 16 * 24 * sizeof(float));
    }
    const std::vector<float> after = layer.forward(x);
    std::vector<float> y(x.size());
    graphs.forward(x, nullptr, y, 9);
    EXPECT_EQ(y, after);
    EXPECT_NE(after, before);
  });
}

/// Steps that break bounds on one rank, and what all are told.
struct Refusal {
  StepBound bound;
  std::string part;
};

void expect_refusal(GraphLane& lane, const Refusal& expected, Rank rank) {
  lane.wait();
  const std::vector<RefusedStep> refused = lane.poll();
  ASSERT_EQ(refused.size(), 1U) << expected.part;
  EXPECT_EQ(refused.front().step, lane.num_launched());
  EXPECT_EQ(refused.front().bound, expected.bound);
  EXPECT_EQ(refused.front().rank, rank);
  EXPECT_NE(refused.front().what.find(expected.part), std::string::npos) << refused.front().what;
  EXPECT_TRUE(lane.poll().empty());
}

TEST(DeviceGraphContract, AStepThatBreaksABoundIsNoneOnAllRanksAndTheNextIsAsEver) {
  const LayerSpec spec{{16, 24}, 8, {2, true}, 12};
  LayerOnDevice::Options options;
  options.max_tokens = 16;
  on_every_device(spec, options, [&](LayerOnDevice& layer) {
    const Rank last = rank_at(layer.engine().communicator().size() - 1);
    const bool is_last = layer.engine().communicator().rank() == last;
    const std::vector<float> x = input(layer, 5, 1);
    const std::vector<float> expected = layer.forward(x);
    GraphLane lane(layer.engine(), layer.lane());
    GraphSteps steps(layer, lane);
    std::size_t num_steps = 0;
    const auto none_and_then_one = [&](const Refusal& refusal, const std::vector<float>& bad,
                                       std::optional<std::uint32_t> count = {}) {
      steps.launch(is_last ? bad : x, 8, nullptr, is_last ? count : std::nullopt);
      expect_refusal(lane, refusal, last);
      EXPECT_EQ(steps.result(num_steps++), steps.with_rest({})) << refusal.part;
      steps.launch(x, 8);
      EXPECT_EQ(steps.result(num_steps++), steps.with_rest(expected)) << refusal.part;
    };
    none_and_then_one({StepBound::tokens, "9 tokens on rank"}, input(layer, 9, 2));
    none_and_then_one({StepBound::tokens, "cannot be computed"}, x, UINT32_MAX);
    std::vector<float> not_finite = x;
    not_finite[3 * 16 + 2] = std::numeric_limits<float>::infinity();
    none_and_then_one({StepBound::logits, "token 3 of rank"}, not_finite);
  });
}

TEST(DeviceGraphContract, ChoicesThatNoLayerCanComputeAreABoundToo) {
  const LayerSpec spec{{16, 24}, 8, {2, true}};
  on_every_device(spec, {}, [&](LayerOnDevice& layer) {
    const bool is_first = layer.engine().communicator().rank() == Rank{0};
    const std::vector<float> x = input(layer, 4, 1);
    const test::OwnedRouting good{4, 2, std::vector<ExpertId>(8, ExpertId{5}), std::vector<float>(8, 0.5F)};
    const Routing right = good;
    const std::vector<float> expected = layer.forward(x, &right);
    GraphLane lane(layer.engine(), layer.lane());
    GraphLayer graphs(lane, *layer.operator->(), true);
    std::vector<float> y(x.size(), 3.0F);
    for (const ExpertId bad : {ExpertId{8}, ExpertId{-1}, ExpertId{1 << 30}}) {
      test::OwnedRouting wrong = good;
      wrong.experts[5] = bad;
      const Routing routing = is_first ? wrong : good;
      expect_shared_error(ErrorKind::invalid_input, "token 2 of rank 0",
                          [&] { graphs.forward(x, &routing, y, 4); });
    }
    EXPECT_EQ(y, std::vector<float>(x.size(), 3.0F));
    graphs.forward(x, &right, y, 4);
    EXPECT_EQ(y, expected);
  });
}

TEST(DeviceGraphContract, MoreAssignmentsThanARankHasRoomForAreNotComputedOn) {
  const LayerSpec spec{{16, 24}, 8, {2, true}};
  on_every_device(spec, {}, [&](LayerOnDevice& layer) {
    const std::size_t num_ranks = layer.engine().communicator().size();
    const std::size_t num_tokens = 6;
    const std::vector<float> x = input(layer, num_tokens, 1);
    const auto routing_to = [&](std::size_t first, std::size_t second) {
      test::OwnedRouting routing{num_tokens, 2, {}, std::vector<float>(2 * num_tokens, 0.5F)};
      for (std::size_t i = 0; i < num_tokens; ++i) {
        routing.experts.push_back(expert_at(first));
        routing.experts.push_back(expert_at(second));
      }
      return routing;
    };
    const test::OwnedRouting all_to_first = routing_to(0, 0), spread = routing_to(0, 7);
    const Routing hot = all_to_first, even = num_ranks == 1 ? hot.tokens(0, num_tokens / 2) : Routing(spread);
    const std::vector<float> some(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(even.num_tokens * 16));
    const std::vector<float> expected = layer.forward(some, &even);
    GraphLane lane(layer.engine(), layer.lane(), {.most_arrivals = num_ranks * num_tokens});
    GraphSteps steps(layer, lane, true);
    steps.launch(x, num_tokens, &hot);
    const std::size_t arrived = 2 * num_ranks * num_tokens;
    expect_refusal(lane,
                   {StepBound::arrivals, fmt::format("{} assignments came to rank 0, which has room for {}",
                                                     arrived, arrived / 2)},
                   Rank{0});
    EXPECT_EQ(steps.result(0), steps.with_rest({}));
    steps.launch(some, num_tokens, &even);
    EXPECT_EQ(steps.result(1), steps.with_rest(expected));
    EXPECT_TRUE(lane.poll().empty());
  });
}

TEST(DeviceGraphContract, RanksThatLaunchDifferentGraphsAreToldSo) {
  const LayerSpec spec{{16, 24}, 8, {2, true}};
  on_every_device(spec, {}, [&](LayerOnDevice& layer) {
    const std::size_t num_ranks = layer.engine().communicator().size();
    if (num_ranks == 1) return;
    const Rank self = layer.engine().communicator().rank(), last = rank_at(num_ranks - 1);
    const std::vector<float> x = input(layer, 3, 1);
    const std::vector<float> expected = layer.forward(x);
    GraphLane lane(layer.engine(), layer.lane());
    GraphSteps steps(layer, lane);
    steps.launch(x, self == last ? 16 : 8);
    expect_refusal(lane, {StepBound::sequence, "of layer 0 for"}, self == last ? Rank{0} : last);
    EXPECT_EQ(steps.result(0), steps.with_rest({}));
    steps.launch(x, 16);
    EXPECT_EQ(steps.result(1), steps.with_rest(expected));
  });
}

TEST(DeviceGraphContract, AnUnusableInputOnOneRankFailsAllAndLeavesTheGraphsUsable) {
  const LayerSpec spec{{16, 24}, 8, {2, true}};
  on_every_device(spec, {}, [&](LayerOnDevice& layer) {
    const bool is_first = layer.engine().communicator().rank() == Rank{0};
    GraphLane lane(layer.engine(), layer.lane());
    GraphLayer graphs(lane, *layer.operator->(), false);
    const std::vector<float> x = input(layer, 4, 5), before = layer.forward(x);
    std::vector<float> y(x.size(), 3.0F);
    const std::vector<float> odd(17);
    try {
      graphs.forward(is_first ? odd : x, nullptr, y, 4);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
      EXPECT_NE(std::string(error.what()).find(is_first ? "not both" : "what rank 0 was given"),
                std::string::npos)
          << error.what();
    }
    EXPECT_EQ(y, std::vector<float>(x.size(), 3.0F));
    expect_shared_error(ErrorKind::invalid_input, "for which graphs were recorded",
                        [&] { graphs.forward(x, nullptr, y, 1000); });
    graphs.forward(x, nullptr, y, 4);
    EXPECT_EQ(y, before);
  });
}

/// What ranks that have given up leave behind is still used by their device, and by the rank that comes late.
TEST(DeviceGraphContract, ARankThatDoesNotLaunchIsNamedAndMayComeLate) {
  const LayerSpec spec{{16, 24}, 8, {2, true}};
  std::atomic<int> num_gone = 0;
  bool is_skipped = false;
  const auto take_part = [&](Communicator& communicator) {
    LayerOnDevice layer(communicator, loopback_backend(), spec, contiguous_placement(8, 3), {});
    if (!layer) {
      is_skipped |= communicator.rank() == Rank{0};
      return;
    }
    GraphLane lane(layer.engine(), layer.lane());
    GraphLayer graphs(lane, *layer.operator->(), false);
    const auto release = [&] { graphs.launch(4); };
    if (communicator.rank() == Rank{2}) {
      Waiter(test::patience).until([&] { return num_gone == 2; }, {"the others"});
      release();
      return lane.wait();
    }
    graphs.launch(4);
    try {
      lane.wait();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::timeout);
      EXPECT_NE(std::string(error.what()).find("missing: rows of rank 2"), std::string::npos) << error.what();
    }
  };
  run_ranks(3, std::chrono::seconds(2), [&](Communicator& communicator) {
    take_part(communicator);
    ++num_gone;
  });
  if (is_skipped) GTEST_SKIP() << "no GPU";
}

TEST(DeviceGraphContract, TakesTheMemoryThatIsPlanned) {
  const LayerSpec spec{{16, 24}, 8, {2, true}, 12};
  on_every_device(spec, {}, [&](LayerOnDevice& layer) {
    const GraphBounds bounds{.most_tokens = 20, .most_arrivals = 100};
    const auto before = layer.engine().memory().bytes();
    GraphLane lane(layer.engine(), layer.lane(), bounds);
    const MemoryPlan plan =
        GraphLane::plan_memory(layer.lane().sizes(), bounds, layer.engine().communicator().size());
    EXPECT_EQ(layer.engine().memory().bytes() - before, plan.total());
    GraphLayer graphs(lane, *layer.operator->(), false);
    EXPECT_EQ(layer.engine().memory().bytes() - before, plan.total());
  });
}

TEST(DeviceGraphContract, RefusesWhatGraphsDoNotHave) {
  const LayerSpec spec{{16, 24}, 8, {2, true}};
  LayerOnDevice::Options options;
  options.function = [](Queue&, std::span<const ExpertId>, const ArrangedRows&) {};
  on_every_device(spec, options, [&](LayerOnDevice& layer) {
    const std::size_t num_ranks = layer.engine().communicator().size();
    const std::size_t rank = index(layer.engine().communicator().rank());
    expect_shared_error(ErrorKind::invalid_input, "257",
                        [&] { GraphLane(layer.engine(), layer.lane(), {.most_tokens = 257}); });
    if (num_ranks > 1) {
      expect_shared_error(ErrorKind::disagreement, "most tokens of a graph",
                          [&] { GraphLane(layer.engine(), layer.lane(), {.most_tokens = 8 + rank}); });
    }
    GraphLane lane(layer.engine(), layer.lane());
    expect_shared_error(ErrorKind::invalid_input, "a caller's function is for eager steps",
                        [&] { GraphLayer(lane, *layer.operator->(), true); });
  });
}

}  // namespace
}  // namespace moewe
