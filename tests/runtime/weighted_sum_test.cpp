#include "runtime/kernels/weighted_sum.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

#include "runtime/kernels/elementwise.hpp"
#include "tests/support/generated_model.hpp"

namespace moewe {
namespace {

using test::random_floats;

constexpr std::size_t first = 5;  // rows begin where no vector does

/// Rows of values that bf16 can hold, in both dtypes, and their sum.
struct Rows {
  std::vector<std::vector<float>> wide;
  std::vector<std::vector<Bf16>> narrow;
  std::vector<WeightedRow> wide_rows;
  std::vector<WeightedRow> narrow_rows;
  std::vector<float> sum;
};

Rows random_rows(std::size_t num_rows, std::size_t length) {
  Rows rows;
  rows.sum.assign(length, 0.0F);
  for (std::size_t r = 0; r < num_rows; ++r) {
    std::vector<float> values = random_floats(first + length, static_cast<unsigned>(r + 1));
    round_in_place_to_bf16(values);
    std::vector<Bf16> narrow(first + length);
    round_to_bf16(values, narrow);
    const float weight = 0.3F + static_cast<float>(r);
    for (std::size_t i = 0; i < length; ++i) {
      const volatile float product = weight * values[first + i];  // not contracted into the addition
      rows.sum[i] += product;
    }
    rows.wide.push_back(std::move(values));
    rows.narrow.push_back(std::move(narrow));
    rows.wide_rows.push_back({reinterpret_cast<const std::byte*>(rows.wide.back().data()), weight});
    rows.narrow_rows.push_back({reinterpret_cast<const std::byte*>(rows.narrow.back().data()), weight});
  }
  return rows;
}

template <typename Visit>
void for_each_shape(Visit&& visit) {
  for (const std::size_t length : {1U, 31U, 32U, 63U, 64U, 128U, 1003U}) {
    for (const std::size_t num_rows : {0U, 1U, 3U, 9U}) visit(random_rows(num_rows, length), length);
  }
}

TEST(WeightedSum, AddsRowsInTheirOrderWithOneRoundingForEachOperation) {
  for_each_shape([](const Rows& rows, std::size_t length) {
    std::vector<float> sum(length, 7.0F);
    sum_weighted(rows.wide_rows, first, Dtype::f32, sum);
    EXPECT_EQ(sum, rows.sum);
    std::fill(sum.begin(), sum.end(), 7.0F);
    sum_weighted(rows.narrow_rows, first, Dtype::bf16, sum);
    EXPECT_EQ(sum, rows.sum);
  });
}

TEST(WeightedSum, RoundsTheWholeSumOnce) {
  for_each_shape([](const Rows& rows, std::size_t length) {
    std::vector<WeightedRow> shifted = rows.narrow_rows;
    for (WeightedRow& row : shifted) row.row += first * sizeof(Bf16);
    std::vector<Bf16> expected(length), sum(length);
    round_to_bf16(rows.sum, expected);
    sum_weighted_rounded(shifted, Dtype::bf16, length, reinterpret_cast<std::byte*>(sum.data()));
    EXPECT_EQ(sum, expected);
  });
}

TEST(WeightedSum, MayTakeThePlaceOfItsFirstRowOrLieBeforeIt) {
  for_each_shape([](const Rows& rows, std::size_t length) {
    if (rows.narrow.empty()) return;
    std::vector<Bf16> expected(length);
    round_to_bf16(rows.sum, expected);
    for (const std::size_t at : {std::size_t{0}, std::size_t{2}, first}) {
      std::vector<Bf16> memory = rows.narrow[0];
      std::vector<WeightedRow> shifted = rows.narrow_rows;
      shifted[0].row = reinterpret_cast<const std::byte*>(memory.data());
      for (WeightedRow& row : shifted) row.row += first * sizeof(Bf16);
      sum_weighted_rounded(shifted, Dtype::bf16, length, reinterpret_cast<std::byte*>(memory.data() + at));
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), memory.begin() + static_cast<long>(at)));
    }
  });
}

TEST(WeightedSum, KeepsInfinityAndNan) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<Bf16> row(64, round_to_bf16(infinity));
  row[1] = round_to_bf16(nan);
  row[40] = round_to_bf16(-infinity);
  std::vector<Bf16> sum(row.size());
  const WeightedRow weighted{reinterpret_cast<const std::byte*>(row.data()), 1.0F};
  sum_weighted_rounded({&weighted, 1}, Dtype::bf16, row.size(), reinterpret_cast<std::byte*>(sum.data()));
  EXPECT_EQ(widen(sum[0]), infinity);
  EXPECT_NE(widen(sum[1]), widen(sum[1]));
  EXPECT_EQ(widen(sum[40]), -infinity);
}

}  // namespace
}  // namespace moewe
