#include "runtime/combine.hpp"

#include <gtest/gtest.h>
#include <vector>

namespace moewe {
namespace {

/// One token whose k-th output is one value: its combination on `num_threads` threads.
float combined(const std::vector<float>& outputs, const std::vector<float>& weights, std::size_t num_sent,
               std::size_t num_threads) {
  const std::size_t k = outputs.size();
  std::vector<ExpertId> experts;
  for (std::size_t e = 0; e < k; ++e) experts.push_back(expert_at(e));
  const Routing routing{1, k, experts, weights, {}};
  MemoryMeter meter;
  DispatchPlan plan(meter);
  SlotChoice choice;
  plan.build(routing, contiguous_placement(k, 1), choice);
  ReturnTable returned(meter);
  returned.reset(plan, Combine::reproducible);
  const auto assignments = plan.to(Rank{0}).assignments;
  returned.add({Rank{0}, assignments.first(num_sent), reinterpret_cast<const std::byte*>(outputs.data())},
               sizeof(float));
  std::vector<float> y{-1.0F};
  combine({routing, returned, {1, Dtype::f32}, false}, {0, routing.num_tokens}, y, num_threads);
  return y[0];
}

TEST(Combine, SumsInTheOrderOfK) {
  // In f32 1e8 + 1 is 1e8: each order of the same three terms has a sum of its own.
  EXPECT_EQ(combined({1e8F, 1.0F, -1e8F}, {1, 1, 1}, 3, 1), 0.0F);
  EXPECT_EQ(combined({1.0F, 1e8F, -1e8F}, {1, 1, 1}, 3, 1), 0.0F);
  EXPECT_EQ(combined({1e8F, -1e8F, 1.0F}, {1, 1, 1}, 3, 1), 1.0F);
  EXPECT_EQ(combined({1e8F, -1e8F, 1.0F}, {1, 1, 1}, 3, 4), 1.0F);
}

TEST(Combine, WeighsEachOutputAndLeavesOutWhatDidNotComeBack) {
  EXPECT_EQ(combined({2.0F, 3.0F}, {0.5F, 2.0F}, 2, 1), 7.0F);
  EXPECT_EQ(combined({2.0F, 3.0F}, {0.5F, 2.0F}, 1, 1), 1.0F);
  EXPECT_EQ(combined({2.0F, 3.0F}, {0.5F, 2.0F}, 0, 1), 0.0F);
}

}  // namespace
}  // namespace moewe
