// Fair shares of a capacity: no rank's tokens crowd out those of others.

#include <algorithm>
#include <gtest/gtest.h>
#include <numeric>

#include "placement/fair_shares.hpp"
#include "runtime/fair_capacity.hpp"
#include "tests/support/layer_runs.hpp"
#include "tests/support/oracle.hpp"
#include "tests/support/overflow_oracle.hpp"

namespace moewe {
namespace {

using test::forward;
using test::make_layer;
using test::on_every_exchange;
using test::on_every_rank;
using test::OverflowCase;
using test::part_of;
using test::Share;
using test::share_of;

using Counts = std::vector<std::int64_t>;

/// Of all tokens: which rank has each of them.
std::vector<std::size_t> ranks_of_tokens(std::size_t num_tokens, std::size_t num_ranks) {
  std::vector<std::size_t> ranks(num_tokens);
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    for (std::size_t t = test::first_token(num_tokens, rank, num_ranks);
         t < test::first_token(num_tokens, rank + 1, num_ranks); ++t)
      ranks[t] = rank;
  }
  return ranks;
}

/// One expert's assignments that are kept, in the plainest way: the capacity is given away one by one, each
/// to the rank that has got least of those that want more, the first of equal ones; a rank's are taken in
/// order.
std::vector<std::size_t> kept_by_turns(std::vector<std::vector<std::size_t>> wanted, std::size_t capacity) {
  std::vector<std::size_t> kept;
  std::vector<std::size_t> got(wanted.size(), 0);
  for (; capacity > 0; --capacity) {
    std::size_t next = wanted.size();
    for (std::size_t rank = 0; rank < wanted.size(); ++rank) {
      if (got[rank] == wanted[rank].size()) continue;
      if (next == wanted.size() || got[rank] < got[next]) next = rank;
    }
    if (next == wanted.size()) break;
    kept.push_back(wanted[next][got[next]++]);
  }
  return kept;
}

/// Where each assignment of all ranks ends.
std::vector<ExpertId> plain_fair(const OverflowCase& c, std::size_t num_ranks, bool by_weight) {
  const std::vector<std::size_t> rank_of = ranks_of_tokens(c.num_tokens, num_ranks);
  std::vector<ExpertId> experts(c.experts.size(), no_expert);
  for (std::size_t e = 0; e < c.num_experts; ++e) {
    std::vector<std::vector<std::size_t>> wanted(num_ranks);
    for (std::size_t i = 0; i < c.experts.size(); ++i) {
      if (c.experts[i] == expert_at(e)) wanted[rank_of[i / c.top_k]].push_back(i);
    }
    for (auto& of_rank : wanted) {
      if (!by_weight) continue;
      std::stable_sort(of_rank.begin(), of_rank.end(),
                       [&](std::size_t a, std::size_t b) { return c.weights[a] > c.weights[b]; });
    }
    for (const std::size_t i : kept_by_turns(wanted, c.capacity)) experts[i] = c.experts[i];
  }
  return experts;
}

OverflowCase share_of_case(const OverflowCase& all, const Share& share) {
  return all.tokens(share.first, share.count);
}

Counts count_of(const std::vector<ExpertId>& experts, std::size_t num_experts) {
  Counts counts(num_experts, 0);
  for (const ExpertId expert : experts) {
    if (expert != no_expert) ++counts[index(expert)];
  }
  return counts;
}

CapacityOptions fair_options(bool by_weight) {
  CapacityOptions options;
  options.policy = by_weight ? OverflowPolicy::drop_lowest_weight : OverflowPolicy::drop_last;
  options.is_fair = true;
  return options;
}

void expect_decided(const Routing& decided, const OverflowCase& mine, const std::vector<ExpertId>& expected) {
  ASSERT_EQ(std::vector(decided.experts.begin(), decided.experts.end()), expected);
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_EQ(decided.weights[i], expected[i] == no_expert ? 0.0F : mine.weights[i]);
}

TEST(LayerFairContract, EachRankKeepsWhatTurnsWouldGiveIt) {
  on_every_rank([&](Communicator& communicator, const Backend&) {
    MemoryMeter meter;
    RoutingTable decided(meter);
    for (std::uint64_t seed = 0; seed < 80; ++seed) {
      const OverflowCase c = test::random_overflow_case(seed);
      const OverflowCase mine = share_of_case(c, share_of(c.num_tokens, communicator));
      for (const bool by_weight : {false, true}) {
        SCOPED_TRACE("seed " + std::to_string(seed) + (by_weight ? ", by weight" : ""));
        const std::vector<ExpertId> all = plain_fair(c, communicator.size(), by_weight);
        const Counts assigned = count_of(c.experts, c.num_experts);
        const OverflowReport report = resolve_overflow(communicator, fair_options(by_weight), c.capacity,
                                                       assigned, mine.view(), decided);
        expect_decided(decided.view(), mine, part_of(all, share_of(c.num_tokens, communicator), c.top_k));
        EXPECT_EQ(report.kept, count_of(all, c.num_experts));
        for (std::size_t e = 0; e < c.num_experts; ++e) {
          EXPECT_EQ(report.kept[e], std::min(assigned[e], static_cast<std::int64_t>(c.capacity)));
          EXPECT_EQ(report.over_capacity[e], assigned[e] - report.kept[e]);
        }
      }
    }
  });
}

TEST(LayerFairContract, SharesAreThoseOfThePureFunction) {
  on_every_rank([&](Communicator& communicator, const Backend&) {
    std::mt19937_64 random(7);  // the same on every rank
    constexpr std::size_t num_experts = 20;
    for (int time = 0; time < 50; ++time) {
      const std::uint64_t most = std::uint64_t{1} << (random() % 34);
      std::vector<Counts> demands(communicator.size(), Counts(num_experts));
      Counts assigned(num_experts, 0);
      for (Counts& of_rank : demands) {
        for (std::size_t e = 0; e < num_experts; ++e)
          assigned[e] += of_rank[e] = static_cast<std::int64_t>(random() % most);
      }
      const auto capacity = static_cast<std::int64_t>(random() % most);
      const Counts mine =
          fair_share_of_rank(communicator, {capacity, assigned, false}, demands[index(communicator.rank())]);
      for (std::size_t e = 0; e < num_experts; ++e) {
        Counts of_expert;
        for (const Counts& of_rank : demands) of_expert.push_back(of_rank[e]);
        EXPECT_EQ(mine[e], fair_shares(of_expert, capacity)[index(communicator.rank())]);
      }
    }
  });
}

/// All tokens choose expert 0, and one more that is theirs.
OverflowCase crowd(std::size_t num_tokens) {
  OverflowCase c;
  c.num_tokens = num_tokens;
  c.num_experts = 8;
  c.top_k = 2;
  for (std::size_t token = 0; token < num_tokens; ++token) {
    c.experts.insert(c.experts.end(), {ExpertId{0}, expert_at(1 + token % 7)});
    c.weights.insert(c.weights.end(), {0.75F, 0.25F});
  }
  c.selection.assign(num_tokens * c.num_experts, 0.5F);
  return c;
}

TEST(LayerFairContract, NobodyIsCrowdedOutInALayer) {
  on_every_exchange([&](Engine& engine) {
    const Communicator& communicator = engine.communicator();
    constexpr std::size_t num_tokens = 64;
    const OverflowCase c = crowd(num_tokens);
    const Share share = share_of(num_tokens, communicator);
    const OverflowCase mine = share_of_case(c, share);
    LayerOptions options;
    options.capacity = fair_options(false);  // a factor of 1: 16
    const LayerSpec spec{{8, 8}, c.num_experts, {c.top_k, true}};
    MoeLayer layer = make_layer(engine, spec, options);
    forward(layer, part_of(test::random_floats(num_tokens * 8, 5), share, 8), mine.view());
    EXPECT_EQ(layer.report().overflow->kept[0], 16);
    const auto decided = layer.routing().experts;
    const auto kept = static_cast<std::size_t>(std::count(decided.begin(), decided.end(), ExpertId{0}));
    EXPECT_GE(kept, std::min(share.count, 16 / communicator.size()));
  });
}

TEST(LayerFairContract, ThereAreSharesOnlyWhereSomethingIsDropped) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Engine engine(communicator, backend, {});
    for (const OverflowPolicy policy : {OverflowPolicy::next_choice, OverflowPolicy::error}) {
      LayerOptions options;
      options.capacity = fair_options(false);
      options.capacity->policy = policy;
      test::expect_shared_error(ErrorKind::invalid_input, "need a policy that drops", [&] {
        make_layer(engine, LayerSpec{{8, 8}, 4, {2, true}}, options);
      });
    }
  });
}

}  // namespace
}  // namespace moewe
