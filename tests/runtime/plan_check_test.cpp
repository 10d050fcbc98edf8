#include "runtime/plan_check.hpp"

#include <gtest/gtest.h>
#include <vector>

namespace moewe {
namespace {

constexpr PlanBounds bounds{4, 10, 3};

std::vector<PlannedAssignment> any_assignments() {
  return {{0, 2, 5, 0, 1}, {0, 1, 5, 1, 1}, {1, 0, 6, 0, 1}};
}

TEST(PlanCheck, PlansUpToTheBoundsCanBeFollowed) {
  EXPECT_EQ(reason_against_plan({2, 3, 7, 0}, any_assignments(), bounds), "");
  EXPECT_EQ(reason_against_plan({0, 0, 10, 0}, {}, bounds), "");
}

TEST(PlanCheck, WhatIsBeyondThemIsNamed) {
  const auto reason = [](const ArrivedPlan& plan, std::size_t changed = 0,
                         PlannedAssignment to = {0, 2, 5, 0, 1}) {
    std::vector<PlannedAssignment> assignments = any_assignments();
    assignments[changed] = to;
    return reason_against_plan(plan, assignments, bounds);
  };
  EXPECT_EQ(reason({2, 3, 8, 0}), "its outputs end at place 11, and there are 10");
  EXPECT_EQ(reason({2, 3, 0xFFFFFFFF, 0}), "its outputs end at place 4294967298, and there are 10");
  EXPECT_EQ(reason({2, 3, 0, 0}, 1, {0, 3, 5, 1, 1}), "it names slot 3, and there are 3");
  EXPECT_EQ(reason({2, 3, 0, 0}, 0, {1, 2, 5, 0, 1}), "it names row 1 before row 0");
  EXPECT_EQ(reason({2, 3, 0, 0}, 2, {0xFFFFFFFF, 0, 6, 0, 1}), "it names row 4294967295 before row 1");
  EXPECT_EQ(reason({1, 3, 0, 0}), "it has 1 rows, and names 2");
  EXPECT_EQ(reason({3, 3, 0, 0}), "it has 3 rows, and names 2");
  const std::vector<PlannedAssignment> five(5, {0, 0, 0, 0, 1});
  EXPECT_EQ(reason_against_plan({1, 5, 0, 0}, five, bounds), "it has 5 assignments, and there is room for 4");
}

}  // namespace
}  // namespace moewe
