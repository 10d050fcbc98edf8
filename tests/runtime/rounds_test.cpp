#include "runtime/rounds.hpp"

#include <gtest/gtest.h>
#include <numeric>
#include <random>

#include "comm/loopback/run_ranks.hpp"
#include "tests/support/layer_runs.hpp"
#include "tests/support/world.hpp"

namespace moewe {
namespace {

/// Runs `work(lane, rank)` for lanes of every way to exchange rows.
template <typename Work>
void on_lanes(std::size_t num_ranks, Work&& work) {
  for (const auto& [name, options] : test::exchanges()) {
    SCOPED_TRACE(name + ", ranks: " + std::to_string(num_ranks));
    const ExchangeOptions exchange = options.exchange;
    run_ranks(num_ranks, test::patience, [&](Communicator& communicator) {
      MemoryMeter meter;
      const TokenBuffers token_buffers(meter);
      const Lane lane(communicator, loopback_backend(), meter, token_buffers, exchange);
      work(lane, communicator.rank());
      communicator.barrier();
    });
  }
}

/// The same for lanes whose rows go two-level, on nodes of two ranks and one.
template <typename Work>
void on_two_level_lanes(Work&& work) {
  for (const std::size_t chunk_bytes : {300U, 1U << 20U}) {
    run_ranks(Topology({0, 0, 1}), test::patience, [&](Communicator& communicator) {
      MemoryMeter meter;
      ExchangeOptions exchange;
      exchange.path = PathRequest::two_level;
      exchange.message_chunk_bytes = chunk_bytes;
      const TokenBuffers token_buffers(meter);
      const Lane lane(communicator, loopback_backend(), meter, token_buffers, exchange);
      work(lane, communicator.rank());
      communicator.barrier();
    });
  }
}

/// Runs `work(lane, rank)` for lanes of three ranks.
template <typename Work>
void on_lanes_of_three(Work&& work) {
  on_lanes(3, work);
  on_two_level_lanes(work);
}

std::size_t below(std::mt19937_64& generator, std::size_t end) {
  return static_cast<std::size_t>(generator() % end);
}

StepBounds random_bounds(std::mt19937_64& generator, std::size_t num_ranks) {
  StepBounds bounds;
  bounds.num_ranks = num_ranks;
  bounds.most_tokens_of_rank = below(generator, 60);
  bounds.num_tokens = bounds.most_tokens_of_rank * (1 + below(generator, num_ranks));
  bounds.top_k = 1 + below(generator, 6);
  bounds.num_expected = below(generator, bounds.num_tokens * bounds.top_k + 1);
  bounds.num_expected_on_node =
      std::min(bounds.num_tokens * bounds.top_k, bounds.num_expected + below(generator, 100));
  bounds.row_bytes = 2 * (1 + below(generator, 100));
  bounds.is_audited = below(generator, 2) == 1;
  bounds.combine = below(generator, 2) == 1 ? Combine::fast : Combine::reproducible;
  if (below(generator, 2) == 1)
    bounds.flow = {.chunk_tokens = 1 + below(generator, 20), .ring_chunks = below(generator, 3)};
  return bounds;
}

/// On a lane of so many ranks.
void expect_fewest_rounds(const Lane& lane, std::size_t num_ranks) {
  std::mt19937_64 generator(5);
  for (int i = 0; i < 100; ++i) {
    const StepBounds bounds = random_bounds(generator, num_ranks);
    const std::size_t most = std::max<std::size_t>(1, bounds.most_tokens_of_rank);
    const std::size_t least = most_round_bytes(lane, bounds, most);
    const std::size_t all = most_round_bytes(lane, bounds, 1);
    const std::size_t budget = least + below(generator, all - least + 1);
    const std::size_t rounds = fewest_rounds(lane, bounds, budget);
    ASSERT_GE(rounds, 1U);
    ASSERT_LE(rounds, most);
    EXPECT_LE(most_round_bytes(lane, bounds, rounds), budget);
    if (rounds > 1) {
      EXPECT_GT(most_round_bytes(lane, bounds, rounds - 1), budget);
    }
    EXPECT_EQ(fewest_rounds(lane, bounds, all), 1U);
    if (least > 0) {
      EXPECT_EQ(fewest_rounds(lane, bounds, least - 1), 0U);
    }
  }
}

TEST(Rounds, AreTheFewestThatFit) {
  on_lanes(1, [](const Lane& lane, Rank) { expect_fewest_rounds(lane, 1); });
  on_lanes_of_three([](const Lane& lane, Rank) { expect_fewest_rounds(lane, 3); });
}

TEST(Rounds, NeedNoMoreTheMoreThereAre) {
  on_lanes_of_three([](const Lane& lane, Rank) {
    std::mt19937_64 generator(6);
    for (int i = 0; i < 30; ++i) {
      const StepBounds bounds = random_bounds(generator, 3);
      for (std::size_t rounds = 1; rounds < bounds.most_tokens_of_rank; ++rounds) {
        EXPECT_GE(most_round_bytes(lane, bounds, rounds), most_round_bytes(lane, bounds, rounds + 1));
      }
    }
  });
}

/// One round within the bounds: some assignments here, some elsewhere, some from others.
RoundSizes random_round(std::mt19937_64& generator, const StepBounds& bounds, std::size_t rounds) {
  const std::size_t tokens = (bounds.most_tokens_of_rank + rounds - 1) / rounds;
  RoundSizes sizes;
  sizes.top_k = bounds.top_k;
  sizes.row_bytes = bounds.row_bytes;
  sizes.is_audited = bounds.is_audited;
  sizes.num_ranks = bounds.num_ranks;
  sizes.combine = bounds.combine;
  sizes.flow = bounds.flow;
  sizes.num_tokens = below(generator, tokens + 1);
  const std::size_t assigned = below(generator, sizes.num_tokens * bounds.top_k + 1);
  const std::size_t all = std::min(bounds.num_tokens, tokens * bounds.num_ranks);
  const std::size_t from_others =
      below(generator, (all - std::min(all, sizes.num_tokens)) * bounds.top_k + 1);
  sizes.num_assigned_here = below(generator, std::min(assigned, bounds.num_expected) + 1);
  sizes.num_assigned_elsewhere = assigned - sizes.num_assigned_here;
  sizes.num_expected = std::min(bounds.num_expected, sizes.num_assigned_here + from_others);
  sizes.most_tokens_of_source = below(generator, tokens + 1);
  sizes.most_expected_on_node =
      below(generator, std::min(bounds.num_expected_on_node, all * bounds.top_k) + 1);
  return sizes;
}

TEST(Rounds, NeverNeedMoreThanTheirBoundWhateverTheirSequence) {
  on_lanes_of_three([](const Lane& lane, Rank) {
    std::mt19937_64 generator(7);
    for (int i = 0; i < 100; ++i) {
      const StepBounds bounds = random_bounds(generator, 3);
      const std::size_t rounds = 1 + below(generator, std::max<std::size_t>(1, bounds.most_tokens_of_rank));
      MemoryPlan sequence;  // memory is not given back between rounds
      for (std::size_t round = 0; round < rounds; ++round) {
        MemoryPlan memory;
        plan_round_memory(lane, random_round(generator, bounds, rounds), memory);
        sequence.cover(memory);
      }
      EXPECT_LE(sequence.total(), most_round_bytes(lane, bounds, rounds));
    }
  });
}

}  // namespace
}  // namespace moewe
