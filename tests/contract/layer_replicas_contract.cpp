#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <numeric>

#include "placement/split.hpp"
#include "runtime/halves.hpp"
#include "tests/support/counted_collectives.hpp"
#include "tests/support/layer_runs.hpp"
#include "tests/support/random_placement.hpp"
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

std::int64_t sum(std::span<const std::int64_t> values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

MoeLayer replicated_layer(Engine& engine, const RoutingCase& c, std::uint64_t seed,
                          const LayerOptions& options = {}) {
  return MoeLayer(engine, c.spec,
                  test::random_placement(c.spec.num_experts, engine.communicator().size(), seed),
                  test::GeneratedWeights(c.spec, test::weights_seed), options);
}

/// A rank's part of a case's tokens.
struct Part {
  Part(const RoutingCase& c, const Communicator& communicator)
      : share(share_of(c.num_tokens, communicator)),
        routing(make_routing(c, share.first, share.count)),
        x(part_of(bf16_floats(c.num_tokens * c.spec.expert.hidden, 5), share, c.spec.expert.hidden)) {}

  std::vector<float> forward(MoeLayer& layer) const { return test::forward(layer, x, routing); }

  Share share;
  OwnedRouting routing;
  std::vector<float> x;
};

/// All promised was computed, and no rank computed more than some rank must.
void expect_best_split(const MoeLayer& layer, const Communicator& communicator) {
  const StepReport& report = layer.report();
  EXPECT_EQ(*std::max_element(report.assignments_per_rank.begin(), report.assignments_per_rank.end()),
            Splitter(layer.placement()).largest(report.kept_per_expert()));
  EXPECT_EQ(sum(report.assignments_per_rank), sum(report.kept_per_expert()));
  EXPECT_EQ(sum(report.computed_per_slot), report.assignments_per_rank[index(communicator.rank())]);
}

TEST(LayerReplicasContract, HaveTheBitsOfSingleExpertsAndShareTheirLoadAtBest) {
  on_every_exchange([](Engine& engine) {
    std::uint64_t seed = 0;
    for (const RoutingCase& c : test::routing_cases()) {
      SCOPED_TRACE(c.name);
      MoeLayer single = make_layer(engine, c.spec);
      const Part part(c, engine.communicator());
      const std::vector<float> expected = part.forward(single);
      MoeLayer replicated = replicated_layer(engine, c, ++seed);
      for (int step = 0; step < 2; ++step) EXPECT_EQ(part.forward(replicated), expected);
      expect_best_split(replicated, engine.communicator());
      std::vector<float> y(part.x.size());
      const Routing routing = part.routing;
      forward_in_halves(replicated, part.x, &routing, y);
      EXPECT_EQ(y, expected);
    }
  });
}

TEST(LayerReplicasContract, HaveTheBitsOfSingleExpertsWhereRanksAreSlow) {
  const RoutingCase c = test::routing_cases().front();
  on_every_exchange([&](Engine& engine) {
    const std::size_t num_ranks = engine.communicator().size();
    MoeLayer single = make_layer(engine, c.spec);
    const Part part(c, engine.communicator());
    std::vector<Millionths> slowness(num_ranks, 1'000'000);
    slowness[num_ranks / 2] = 3'000'000;
    const Placement even = test::random_placement(c.spec.num_experts, num_ranks, 5);
    MoeLayer uneven(engine, c.spec, even.with_slowness(slowness),
                    test::GeneratedWeights(c.spec, test::weights_seed));
    EXPECT_EQ(part.forward(uneven), part.forward(single));
    const std::int64_t load = uneven.report().assignments_per_rank[num_ranks / 2];
    EXPECT_LE(load, split_loads(even, uneven.report().assignments_per_expert).rank_loads[num_ranks / 2]);
  });
}

TEST(LayerReplicasContract, HaveTheBitsOfSingleExpertsUnderACapacity) {
  const RoutingCase c = test::routing_cases().front();
  on_every_exchange([&](Engine& engine) {
    std::uint64_t seed = 0;
    for (const OverflowPolicy policy : {OverflowPolicy::drop_last, OverflowPolicy::drop_lowest_weight}) {
      LayerOptions options;
      options.capacity.emplace();
      options.capacity->factor = 0.8;
      options.capacity->policy = policy;
      MoeLayer single = make_layer(engine, c.spec, options);
      const Part part(c, engine.communicator());
      const std::vector<float> expected = part.forward(single);
      MoeLayer replicated = replicated_layer(engine, c, ++seed, options);
      EXPECT_EQ(part.forward(replicated), expected);
      EXPECT_LT(sum(replicated.report().kept_per_expert()), sum(replicated.report().assignments_per_expert));
      expect_best_split(replicated, engine.communicator());
    }
  });
}

/// In more steps than one exact split serves for. Loads that stay the same are split at best by what is
/// stored, too.
TEST(LayerReplicasContract, HaveTheBitsOfSingleExpertsWhereSplitsAreStored) {
  const std::vector<RoutingCase> cases = test::routing_cases();
  on_every_exchange([&](Engine& engine) {
    const LayerSpec& spec = cases.front().spec;
    MoeLayer single = make_layer(engine, spec);
    LayerOptions options;
    options.split = SplitMode::stored;
    MoeLayer replicated = replicated_layer(engine, cases.front(), 4, options);
    for (std::size_t step = 0; step < StoredSplit::most_uses + 3; ++step) {
      RoutingCase c = cases.front();
      c.num_tokens = 10 + step % 3 * 7;
      const Part part(c, engine.communicator());
      EXPECT_EQ(part.forward(replicated), part.forward(single));
      const StepReport& report = replicated.report();
      EXPECT_EQ(report.is_split_as_stored, step % (StoredSplit::most_uses + 1) != 0) << step;
      EXPECT_EQ(report.assignments_per_expert, single.report().assignments_per_expert);
      EXPECT_EQ(sum(report.computed_per_slot),
                report.assignments_per_rank[index(engine.communicator().rank())]);
    }
    const Part part(cases.front(), engine.communicator());
    MoeLayer steady = replicated_layer(engine, cases.front(), 5, options);
    for (int step = 0; step < 3; ++step) {
      part.forward(steady);
      expect_best_split(steady, engine.communicator());
    }
  });
}

TEST(LayerReplicasContract, AreNotSplitAsStoredUnderACapacity) {
  on_every_exchange([](Engine& engine) {
    LayerOptions options;
    options.split = SplitMode::stored;
    options.capacity.emplace();
    EXPECT_THROW(replicated_layer(engine, test::routing_cases().front(), 4, options), Error);
  });
}

TEST(LayerReplicasContract, HaveTheBitsOfSingleExpertsInRounds) {
  RoutingCase c = test::routing_cases().front();
  c.num_tokens = 1000;  // whose rows take more than what does not depend on them
  on_every_exchange([&](Engine& engine) {
    Communicator& communicator = engine.communicator();
    MoeLayer replicated = replicated_layer(engine, c, 9);
    const Part part(c, communicator);
    const std::size_t before = engine.memory().bytes();
    const std::vector<float> expected = part.forward(replicated);
    EXPECT_EQ(replicated.report().num_rounds, 1U);
    std::array<std::int64_t, 1> taken{static_cast<std::int64_t>(engine.memory().bytes() - before)};
    communicator.all_reduce({.sums = {}, .minima = {}, .maxima = taken});
    engine.limit_memory(before + static_cast<std::size_t>(taken[0]) * 8 / 5);  // for two lanes
    for (int step = 0; step < 2; ++step) {
      EXPECT_EQ(part.forward(replicated), expected);
      EXPECT_GT(replicated.report().num_rounds, 1U);
      expect_best_split(replicated, communicator);
    }
  });
}

/// All experts on every rank.
Placement everywhere(std::size_t num_experts, std::size_t num_ranks) {
  std::vector<ExpertId> all;
  for (std::size_t e = 0; e < num_experts; ++e) all.push_back(expert_at(e));
  return {1, num_experts, std::vector(num_ranks, all)};
}

/// Collectives of the second of two steps on this rank.
std::size_t num_collectives(Communicator& communicator, const Backend& backend, std::size_t num_experts,
                            const LayerOptions& options) {
  std::size_t count = 0;
  Engine engine(communicator, test::with_counted_collectives(backend, count), {});
  const RoutingCase c{"random", LayerSpec{{4, 4}, num_experts, {2, true}}, 41,
                      [](std::size_t, std::size_t k, const auto& shuffled) { return shuffled[k]; }};
  MoeLayer layer(engine, c.spec, everywhere(num_experts, communicator.size()),
                 test::GeneratedWeights(c.spec, test::weights_seed), options);
  const Part part(c, communicator);
  part.forward(layer);
  const std::size_t before = count;
  part.forward(layer);
  expect_best_split(layer, communicator);
  return count - before;
}

TEST(LayerReplicasContract, AreSplitByWhatTheOneAgreementSaysUnlessThatIsTooMuch) {
  test::on_every_rank([](Communicator& communicator, const Backend& backend) {
    if (communicator.size() < 2) return;
    const auto count = [&](std::size_t num_experts, const LayerOptions& options) {
      return num_collectives(communicator, backend, num_experts, options);
    };
    LayerOptions stored, bounded;
    stored.split = SplitMode::stored;
    bounded.capacity.emplace();
    EXPECT_EQ(count(20, {}), 1U);
    EXPECT_EQ(count(20, stored), 1U);
    EXPECT_EQ(count(200, {}), 2U);
    EXPECT_GE(count(20, bounded), 2U);
  });
}

TEST(LayerReplicasContract, KeepAtHomeWhatNeedNotTravel) {
  const RoutingCase c = test::routing_cases().front();
  on_every_exchange([&](Engine& engine) {
    Communicator& communicator = engine.communicator();
    MoeLayer layer(engine, c.spec, everywhere(c.spec.num_experts, communicator.size()),
                   test::GeneratedWeights(c.spec, test::weights_seed));
    // Other tokens on every rank, but as many.
    const OwnedRouting routing = make_routing(c, 50 * index(communicator.rank()), 50);
    test::forward(layer, bf16_floats(50 * c.spec.expert.hidden, 5), routing);
    EXPECT_EQ(layer.report().computed_per_slot, count_assignments(routing, c.spec.num_experts));
  });
}

}  // namespace
}  // namespace moewe
