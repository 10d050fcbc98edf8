#include "runtime/routing.hpp"

#include <gtest/gtest.h>
#include <limits>
#include <numeric>
#include <vector>

#include "comm/error.hpp"

namespace moewe {
namespace {

using Counts = std::vector<std::int64_t>;

std::vector<ExpertId> ids(const std::vector<int>& numbers) {
  std::vector<ExpertId> experts;
  for (const int n : numbers) experts.push_back(ExpertId{n});
  return experts;
}

/// What count_assignments says of a routing that it refuses.
std::string refusal(const Routing& routing, std::size_t num_experts) {
  try {
    count_assignments(routing, num_experts);
  } catch (const InvalidInput& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Routing, CountsAssignmentsPerExpert) {
  const std::vector<ExpertId> experts = ids({0, 2, 2, 2, 3, 0});
  const std::vector<float> weights(6, 0.5F);
  EXPECT_EQ(count_assignments({3, 2, experts, weights, {}}, 5), (Counts{2, 0, 3, 1, 0}));
  EXPECT_EQ(count_assignments({0, 2, {}, {}, {}}, 3), (Counts{0, 0, 0}));
}

TEST(Routing, ThatPointsOutsideOrIsNotFiniteNamesTheToken) {
  std::vector<float> weights(4, 0.5F);
  for (const int wrong : {-1, 4, std::numeric_limits<int>::min()}) {
    const std::vector<ExpertId> experts = ids({0, 1, 2, wrong});
    EXPECT_EQ(refusal({2, 2, experts, weights, {}}, 4),
              "routing: token 1 chose expert " + std::to_string(wrong) + ", but experts go from 0 to 3");
  }
  const std::vector<ExpertId> experts = ids({0, 1, 2, 3});
  for (const float wrong :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    weights[1] = wrong;
    EXPECT_NE(refusal({2, 2, experts, weights, {}}, 4).find("token 0 gives expert 1 the weight"),
              std::string::npos);
  }
}

TEST(Routing, WhoseSizesDoNotFitTogetherIsRefused) {
  const std::vector<ExpertId> experts = ids({0, 1, 2, 3});
  const std::vector<float> weights(4, 0.5F);
  EXPECT_NE(refusal({3, 2, experts, weights, {}}, 4).find("need 6 expert ids"), std::string::npos);
  EXPECT_NE(refusal({2, 2, experts, std::span(weights).first(3), {}}, 4).find("not 4 and 3"),
            std::string::npos);
}

/// 5 tokens with top-2 of 3 experts, all values different.
RoutingTable numbered_table(MemoryMeter& meter, std::size_t num_experts) {
  RoutingTable table(meter);
  table.resize(5, 2, num_experts);
  for (std::size_t i = 0; i < 10; ++i) {
    table.experts()[i] = expert_at(i);
    table.weights()[i] = static_cast<float>(i);
  }
  std::iota(table.selection().begin(), table.selection().end(), 100.0F);
  return table;
}

TEST(Routing, TokensCutsAllPartsAlike) {
  MemoryMeter meter;
  const RoutingTable table = numbered_table(meter, 3);
  const Routing part = table.view().tokens(1, 3);
  EXPECT_EQ(part.num_tokens, 3U);
  EXPECT_EQ(part.top_k, 2U);
  EXPECT_EQ(std::vector(part.experts.begin(), part.experts.end()), ids({2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(std::vector(part.weights.begin(), part.weights.end()), (std::vector<float>{2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(part.selection.size(), 9U);
  EXPECT_EQ(part.selection.front(), 103.0F);
  EXPECT_EQ(table.view().tokens(5, 0).experts.size(), 0U);
}

TEST(Routing, TokensCutsWhatHasNoSelectionAndNoTokens) {
  MemoryMeter meter;
  const RoutingTable table = numbered_table(meter, 0);
  EXPECT_TRUE(table.view().tokens(2, 2).selection.empty());
  EXPECT_EQ((Routing{0, 2, {}, {}, {}}).tokens(0, 0).num_tokens, 0U);
}

TEST(RoutingTable, TakesTheMemoryThatWasPlanned) {
  MemoryMeter meter;
  RoutingTable table(meter);
  MemoryPlan most;
  for (const std::size_t tokens : {7U, 100U, 3U, 0U}) {
    MemoryPlan plan;
    table.plan_memory(tokens, 4, 16, plan);
    most.cover(plan);
    table.resize(tokens, 4, 16);
    EXPECT_EQ(table.view().selection.size(), tokens * 16);
    EXPECT_EQ(meter.bytes(), most.total());
    for (const auto& [name, bytes] : most.by_name())
      EXPECT_EQ(meter.by_name().find(name)->second.bytes, bytes) << name;
  }
}

}  // namespace
}  // namespace moewe
