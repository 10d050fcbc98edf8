#include "runtime/capacity.hpp"

#include <gtest/gtest.h>
#include <limits>
#include <random>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr CapacityRule all_rules[] = {CapacityRule::megatron, CapacityRule::deepspeed, CapacityRule::vmoe,
                                      CapacityRule::flaxformer, CapacityRule::mesh};

TEST(ExpertCapacity, IsWhatTheLibrariesGive) {
  EXPECT_EQ(expert_capacity(CapacityRule::mesh, 1.25, 100, 1, 8), 15U);
  EXPECT_EQ(expert_capacity(CapacityRule::flaxformer, 1.25, 100, 1, 8), 16U);
  EXPECT_EQ(expert_capacity(CapacityRule::megatron, 1.25, 100, 1, 8), 16U);
  EXPECT_EQ(expert_capacity(CapacityRule::deepspeed, 1.25, 100, 1, 8), 16U);
  EXPECT_EQ(expert_capacity(CapacityRule::vmoe, 1.25, 100, 1, 8), 16U);

  EXPECT_EQ(expert_capacity(CapacityRule::mesh, 1.1, 1000, 2, 64), 17U);
  EXPECT_EQ(expert_capacity(CapacityRule::flaxformer, 1.1, 1000, 2, 64), 17U);
  EXPECT_EQ(expert_capacity(CapacityRule::megatron, 1.1, 1000, 2, 64), 35U);
  EXPECT_EQ(expert_capacity(CapacityRule::deepspeed, 1.1, 1000, 2, 64), 35U);
  EXPECT_EQ(expert_capacity(CapacityRule::vmoe, 2.2, 1000, 2, 64), 36U);
}

TEST(ExpertCapacity, RoundsInTheOrderAndPrecisionOfItsSource) {
  // 100 * 2 / 4 * 1.1 is a little above 55 in double; 100 / 4 * 2.2 is just 55 in f32.
  EXPECT_EQ(expert_capacity(CapacityRule::megatron, 1.1, 100, 2, 4), 56U);
  EXPECT_EQ(expert_capacity(CapacityRule::deepspeed, 1.1, 100, 2, 4), 55U);
  // Products and quotients that are whole only when taken in another order.
  EXPECT_EQ(expert_capacity(CapacityRule::megatron, 1.1, 45, 2, 3), 33U);
  EXPECT_EQ(expert_capacity(CapacityRule::vmoe, 1.1, 360, 1, 3), 136U);
  EXPECT_EQ(expert_capacity(CapacityRule::flaxformer, 1.1, 45, 1, 3), 17U);
  EXPECT_EQ(expert_capacity(CapacityRule::mesh, 1.2, 35, 1, 3), 14U);
  // 25 * 1.2 is just 30 in double and a little more in f32.
  EXPECT_EQ(expert_capacity(CapacityRule::megatron, 1.2, 100, 1, 4), 30U);
  EXPECT_EQ(expert_capacity(CapacityRule::deepspeed, 1.2, 100, 1, 4), 31U);
}

TEST(ExpertCapacity, OfFlaxformerRoundsHalvesToEven) {
  EXPECT_EQ(expert_capacity(CapacityRule::flaxformer, 1.0, 36, 1, 8), 4U);  // 4.5
  EXPECT_EQ(expert_capacity(CapacityRule::flaxformer, 1.0, 44, 1, 8), 6U);  // 5.5
  EXPECT_EQ(expert_capacity(CapacityRule::flaxformer, 1.0, 52, 1, 8), 6U);  // 6.5
  EXPECT_EQ(expert_capacity(CapacityRule::flaxformer, 1.0, 53, 1, 8), 7U);  // 6.625
}

TEST(ExpertCapacity, OfVmoeIsAMultipleOfFour) {
  EXPECT_EQ(expert_capacity(CapacityRule::vmoe, 1.0, 128, 1, 8), 16U);
  EXPECT_EQ(expert_capacity(CapacityRule::vmoe, 1.0, 129, 1, 8), 20U);
}

TEST(ExpertCapacity, HasTheMinimumOfItsRule) {
  EXPECT_EQ(expert_capacity(CapacityRule::megatron, 0.001, 100, 1, 8), 1U);
  EXPECT_EQ(expert_capacity(CapacityRule::deepspeed, 0.001, 100, 1, 8), 4U);
  EXPECT_EQ(expert_capacity(CapacityRule::vmoe, 0.001, 100, 1, 8), 4U);
  EXPECT_EQ(expert_capacity(CapacityRule::flaxformer, 0.001, 100, 1, 8), 4U);
  EXPECT_EQ(expert_capacity(CapacityRule::mesh, 0.001, 100, 1, 8), 4U);
  const double smallest = std::numeric_limits<double>::denorm_min();
  for (const CapacityRule rule : all_rules) EXPECT_GE(expert_capacity(rule, smallest, 3, 1, 8), 1U);
}

TEST(ExpertCapacity, IsNeverMoreThanThereAreTokens) {
  for (const CapacityRule rule : all_rules) {
    EXPECT_EQ(expert_capacity(rule, 1.0, 0, 2, 8), 0U);
    EXPECT_EQ(expert_capacity(rule, 1.0, 1, 2, 8), 1U);
    EXPECT_EQ(expert_capacity(rule, 100.0, 3, 2, 8), 3U);
    EXPECT_EQ(expert_capacity(rule, 8.5, 1001, 1, 8), 1001U);
    EXPECT_EQ(expert_capacity(rule, std::numeric_limits<double>::max(), 1001, 8, 8), 1001U);
  }
}

TEST(ExpertCapacity, GrowsWithTokensAndFactor) {
  std::mt19937_64 generator(1);
  for (int i = 0; i < 20000; ++i) {
    const CapacityRule rule = all_rules[generator() % 5];
    const std::size_t num_experts = 1 + generator() % 64;
    const std::size_t top_k = 1 + generator() % num_experts;
    const std::size_t num_tokens = generator() % 5000;
    const double factor = static_cast<double>(1 + generator() % 400) / 100;
    const std::size_t capacity = expert_capacity(rule, factor, num_tokens, top_k, num_experts);
    EXPECT_LE(capacity, expert_capacity(rule, factor, num_tokens + generator() % 9, top_k, num_experts));
    EXPECT_LE(capacity, expert_capacity(rule, factor * 1.01, num_tokens, top_k, num_experts));
    EXPECT_LE(capacity, num_tokens);
    EXPECT_GE(capacity, std::min<std::size_t>(num_tokens, 1));
  }
}

TEST(ExpertCapacity, OfManyTokensIsTheFactorTimesTheirMean) {
  const std::size_t num_tokens = std::size_t{1} << 31;
  for (const CapacityRule rule : {CapacityRule::megatron, CapacityRule::deepspeed})
    EXPECT_EQ(expert_capacity(rule, 1.25, num_tokens, 8, 256), num_tokens / 32 / 4 * 5);
  for (const CapacityRule rule : {CapacityRule::vmoe, CapacityRule::flaxformer, CapacityRule::mesh})
    EXPECT_EQ(expert_capacity(rule, 1.25, num_tokens, 8, 256), num_tokens / 256 / 4 * 5);
}

TEST(ExpertCapacity, RefusesWhatIsNoFactor) {
  for (const double factor :
       {0.0, -1.0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THROW(expert_capacity(CapacityRule::megatron, factor, 100, 1, 8), InvalidInput);
    EXPECT_THROW(expert_capacity(CapacityRule::megatron, factor, 0, 1, 8), InvalidInput);
  }
  EXPECT_THROW(expert_capacity(CapacityRule::megatron, 1.0, 100, 0, 8), InvalidInput);
  EXPECT_THROW(expert_capacity(CapacityRule::megatron, 1.0, 100, 9, 8), InvalidInput);
  EXPECT_THROW(expert_capacity(CapacityRule::megatron, 1.0, 100, 0, 0), InvalidInput);
}

}  // namespace
}  // namespace moewe
