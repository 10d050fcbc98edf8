#include "runtime/memory_plan.hpp"

#include <cstdint>
#include <gtest/gtest.h>

namespace moewe {
namespace {

using Bytes = std::map<std::string, std::size_t>;

TEST(MemoryPlan, AddsUpWhatIsNeededAtTheSameTime) {
  MemoryPlan plan;
  EXPECT_EQ(plan.total(), 0U);
  plan.add("rows", 10);
  plan.add("table", 5);
  plan.add("rows", 7);
  EXPECT_EQ(plan.by_name(), (Bytes{{"rows", 17}, {"table", 5}}));
  EXPECT_EQ(plan.total(), 22U);
}

TEST(MemoryPlan, DoesNotNameWhatTakesNothing) {
  MemoryPlan plan;
  plan.add("rows", 0);
  EXPECT_TRUE(plan.by_name().empty());
}

TEST(MemoryPlan, StaysAtTheMostThatCanBePlanned) {
  MemoryPlan plan;
  for (int i = 0; i < 9; ++i) plan.add("rows", most_plannable_bytes / 2);
  plan.add("table", SIZE_MAX);
  EXPECT_EQ(plan.by_name(), (Bytes{{"rows", most_plannable_bytes}, {"table", most_plannable_bytes}}));
  EXPECT_EQ(plan.total(), most_plannable_bytes);
  EXPECT_EQ(saturated_sum(most_plannable_bytes - 2, 1), most_plannable_bytes - 1);
}

TEST(MemoryPlan, CoversWithTheLargerForEachName) {
  MemoryPlan one, other;
  one.add("rows", 10);
  one.add("table", 5);
  other.add("rows", 4);
  other.add("table", 6);
  other.add("outputs", 1);
  one.cover(other);
  const Bytes expected{{"outputs", 1}, {"rows", 10}, {"table", 6}};
  EXPECT_EQ(one.by_name(), expected);
  EXPECT_EQ(one.total(), 17U) << "more than either needs";
  one.cover(other);
  EXPECT_EQ(one.by_name(), expected) << "covered already";
  one.cover({});
  EXPECT_EQ(one.by_name(), expected);
}

}  // namespace
}  // namespace moewe
