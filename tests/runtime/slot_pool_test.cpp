#include "runtime/slot_pool.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

#include "runtime/experts.hpp"
#include "runtime/layer_memory.hpp"
#include "tests/support/generated_model.hpp"

namespace moewe {
namespace {

constexpr ExpertShape shape{16, 24};
constexpr LayerSpec spec{shape, 4, {2, true}};

class SlotPools : public ::testing::Test {
 protected:
  SlotPool make(std::size_t num_slots, const SlotPoolOptions& options = {}) {
    return SlotPool(mlp_, meter_, num_slots, options);
  }
  std::size_t counted() const { return meter_.by_name().find(expert_weights_name)->second.bytes; }

  MatmulCache matmuls_;
  ExpertMlp mlp_{shape, Dtype::f32, Dtype::f32, matmuls_};
  MemoryMeter meter_;
};

std::vector<float> values_of(std::span<const std::byte> bytes) {
  const auto* first = reinterpret_cast<const float*>(bytes.data());
  return {first, first + bytes.size() / sizeof(float)};
}

TEST_F(SlotPools, TakeAllTheirMemoryAtOnceAndKeepIt) {
  SlotPool pool = make(3);
  EXPECT_EQ(counted(), 3 * mlp_.weight_bytes());
  EXPECT_EQ(pool.slot_bytes(), mlp_.weight_bytes());
  {
    const SlotPool::OpenSlot a = pool.take(), b = pool.take();
    EXPECT_EQ(pool.num_free(), 1U);
    EXPECT_NE(a.get(), b.get());
  }
  EXPECT_EQ(pool.num_free(), 3U);
  EXPECT_EQ(counted(), 3 * mlp_.weight_bytes());
  EXPECT_EQ(meter_.peak_bytes(), 3 * mlp_.weight_bytes());
}

TEST_F(SlotPools, HandOutEverySlotOnceAndThenNone) {
  SlotPool pool = make(2);
  const SlotPool::OpenSlot a = pool.take(), b = pool.take();
  EXPECT_EQ(pool.take(), nullptr);
  EXPECT_EQ(pool.num_free(), 0U);
}

TEST_F(SlotPools, HaveASlotBackWhenItsLastHolderLetsItGo) {
  SlotPool pool = make(1);
  std::shared_ptr<const ExpertWeights> epoch = SlotPool::seal(pool.take());
  std::shared_ptr<const ExpertWeights> step = epoch;
  epoch.reset();
  EXPECT_EQ(pool.take(), nullptr) << "a step holds it";
  const ExpertWeights* const place = step.get();
  step.reset();
  EXPECT_EQ(pool.take().get(), place);
}

TEST_F(SlotPools, FillWhatComesBackWithNaNIfAsked) {
  SlotPool pool = make(1, {.takes_checksums = true, .spoils_free_slots = true});
  const ExpertId expert{2};
  SlotTable table = load_experts(mlp_, meter_, test::GeneratedWeights(spec, 3), std::span(&expert, 1), pool);
  const ExpertWeights* const place = table.slots[0].get();
  EXPECT_NE(place->checksum, 0U);
  for (const auto bytes : place->bytes())
    EXPECT_FALSE(std::ranges::any_of(values_of(bytes), [](float v) { return std::isnan(v); }));
  table.slots.clear();
  for (const auto bytes : place->bytes())
    EXPECT_TRUE(std::ranges::all_of(values_of(bytes), [](float v) { return std::isnan(v); }));
}

TEST_F(SlotPools, MayEndBeforeTheirSlots) {
  std::shared_ptr<const ExpertWeights> kept;
  {
    SlotPool pool = make(2);
    kept = SlotPool::seal(pool.take());
  }
  EXPECT_EQ(counted(), 2 * mlp_.weight_bytes());
  kept.reset();
  EXPECT_EQ(counted(), 0U);
}

TEST_F(SlotPools, LoadedExpertsOfOneLayoutHaveEqualBytes) {
  const std::vector<ExpertId> experts{ExpertId{1}, ExpertId{3}, ExpertId{1}};
  SlotPool pool = make(3, {.takes_checksums = true});
  const SlotTable table = load_experts(mlp_, meter_, test::GeneratedWeights(spec, 3), experts, pool);
  EXPECT_EQ(table.slots[0]->checksum, table.slots[2]->checksum);
  EXPECT_NE(table.slots[0]->checksum, table.slots[1]->checksum);
  EXPECT_EQ(mlp_.layout_digest(), ExpertMlp(shape, Dtype::f32, Dtype::f32, matmuls_).layout_digest());
  EXPECT_NE(mlp_.layout_digest(), ExpertMlp({16, 25}, Dtype::f32, Dtype::f32, matmuls_).layout_digest());
}

}  // namespace
}  // namespace moewe
