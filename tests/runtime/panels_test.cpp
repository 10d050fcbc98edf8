#include "runtime/kernels/panels.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <numeric>
#include <vector>

#include "comm/error.hpp"
#include "tests/support/generated_model.hpp"

namespace moewe {
namespace {

using test::as_bf16;
using test::random_floats;

/// Sizes of a matrix and of the groups of outputs that stay together.
struct Shape {
  std::size_t in, out, granularity;
};

std::vector<Shape> shapes() {
  return {{16, 1, 1}, {37, 127, 1}, {37, 128, 1}, {37, 129, 1},   {16, 300, 2},   {24, 258, 2},
          {24, 6, 3}, {5, 260, 4},  {1, 130, 1},  {1500, 200, 2}, {4096, 130, 1}, {3000, 96, 2}};
}

TEST(Panels, CoverAllOutputsInWholeGroups) {
  MatmulCache matmuls;
  for (const Shape& shape : shapes()) {
    const Panels panels(shape.in, shape.out, Dtype::f32, matmuls, shape.granularity);
    EXPECT_EQ(panels.in(), shape.in);
    std::size_t next = 0;
    for (std::size_t panel = 0; panel < panels.num_panels(); ++panel) {
      EXPECT_EQ(panels.first_output(panel), next);
      EXPECT_GE(panels.width(panel), 1U);
      EXPECT_LE(panels.width(panel), Panels::max_width);
      EXPECT_EQ(panels.width(panel) % shape.granularity, 0U);
      next += panels.width(panel);
    }
    EXPECT_EQ(next, shape.out);
  }
}

TEST(Panels, AreNarrowWhereOneWouldLeaveTheCache) {
  MatmulCache matmuls;
  const Panels short_rows(64, 256, Dtype::bf16, matmuls);
  const Panels long_rows(8192, 256, Dtype::bf16, matmuls);
  EXPECT_EQ(short_rows.width(0), Panels::max_width);
  EXPECT_LT(long_rows.width(0), Panels::max_width);
}

TEST(Panels, ThatCutAGroupAreRefused) {
  MatmulCache matmuls;
  EXPECT_THROW(Panels(16, 7, Dtype::f32, matmuls, 2), Error);
}

/// A matrix whose panels lie packed.
struct Packed {
  Panels panels;
  std::vector<float> weights;
  std::vector<std::byte> memory;
  std::vector<float> scratch;

  Packed(const Shape& shape, Dtype dtype, MatmulCache& matmuls, std::vector<float> values)
      : panels(shape.in, shape.out, dtype, matmuls, shape.granularity),
        weights(std::move(values)),
        memory(panels.packed_bytes()),
        scratch(panels.scratch_length()) {
    for (std::size_t panel = 0; panel < panels.num_panels(); ++panel) {
      const auto rows =
          std::span(weights).subspan(panels.first_output(panel) * shape.in, panels.width(panel) * shape.in);
      panels.pack_panel(panel, rows, memory.data(), scratch.data());
    }
  }

  /// [num_rows, out]
  std::vector<float> apply(const std::vector<float>& x, std::size_t num_rows) {
    const std::size_t out = weights.size() / panels.in();
    const std::vector<std::byte> rows = test::as_bytes_of(panels.input(), x);
    std::vector<float> y(num_rows * out), of_panel(num_rows * Panels::max_width);
    for (std::size_t panel = 0; panel < panels.num_panels(); ++panel) {
      panels.apply(panel, rows.data(), num_rows, memory.data(), scratch.data(), of_panel.data());
      for (std::size_t i = 0; i < num_rows * panels.width(panel); ++i) {
        const std::size_t row = i / panels.width(panel);
        y[row * out + panels.first_output(panel) + i % panels.width(panel)] = of_panel[i];
      }
    }
    return y;
  }
};

void expect_plain_product(const std::vector<float>& y, const std::vector<float>& w,
                          const std::vector<float>& x, std::size_t in) {
  const std::size_t out = w.size() / in;
  for (std::size_t i = 0; i < y.size(); ++i) {
    double expected = 0, magnitude = 0;
    for (std::size_t k = 0; k < in; ++k) {
      const double product = static_cast<double>(x[i / out * in + k]) * w[i % out * in + k];
      expected += product;
      magnitude += std::abs(product);
    }
    ASSERT_NEAR(y[i], expected, 1e-6 * magnitude) << in << " to " << out << ", value " << i;
  }
}

TEST(Panels, MultiplyAsPlainLoopsDo) {
  MatmulCache matmuls;
  for (const Shape& shape : shapes()) {
    const std::vector<float> w = random_floats(shape.in * shape.out, 1);
    const std::vector<float> x = random_floats(5 * shape.in, 2);
    Packed f32(shape, Dtype::f32, matmuls, w);
    expect_plain_product(f32.apply(x, 5), w, x, shape.in);
    Packed bf16(shape, Dtype::bf16, matmuls, w);
    expect_plain_product(bf16.apply(as_bf16(x), 5), as_bf16(w), as_bf16(x), shape.in);
  }
}

TEST(Panels, AreMultipliedAsTheyAreWhereTheMachineCan) {
  MatmulCache matmuls;
  EXPECT_EQ(Panels(16, 64, Dtype::f32, matmuls).input(), Dtype::f32);
  const Panels bf16(16, 64, Dtype::bf16, matmuls);
  EXPECT_EQ(bf16.input(), Matmul::has_instructions(Dtype::bf16) ? Dtype::bf16 : Dtype::f32);
  EXPECT_EQ(bf16.scratch_length() == 0, bf16.input() == Dtype::bf16);
}

TEST(Panels, HaveTheSameBitsInBothTypesWhereBf16IsWidened) {
  if (Matmul::has_instructions(Dtype::bf16)) GTEST_SKIP() << "bf16 is multiplied as it is here";
  MatmulCache matmuls;
  for (const Shape& shape : shapes()) {
    const std::vector<float> w = as_bf16(random_floats(shape.in * shape.out, 3));
    const std::vector<float> x = random_floats(9 * shape.in, 4);
    Packed f32(shape, Dtype::f32, matmuls, w);
    Packed bf16(shape, Dtype::bf16, matmuls, w);
    EXPECT_EQ(f32.apply(x, 9), bf16.apply(x, 9));
    EXPECT_EQ(f32.memory.size(), 2 * bf16.memory.size());
    EXPECT_TRUE(f32.scratch.empty());
  }
}

TEST(Panels, GiveARowTheSameBitsInAnyCompany) {
  MatmulCache matmuls;
  const Shape shape{37, 300, 2};
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    Packed packed(shape, dtype, matmuls, random_floats(shape.in * shape.out, 5));
    const std::vector<float> x = random_floats(70 * shape.in, 6);
    const std::vector<float> together = packed.apply(x, 70);
    for (const std::size_t row : {0U, 1U, 31U, 69U}) {
      const auto at = x.begin() + static_cast<std::ptrdiff_t>(row * shape.in);
      const auto of_row = together.begin() + static_cast<std::ptrdiff_t>(row * shape.out);
      EXPECT_EQ(packed.apply({at, at + static_cast<std::ptrdiff_t>(shape.in)}, 1),
                std::vector<float>(of_row, of_row + static_cast<std::ptrdiff_t>(shape.out)));
    }
  }
}

}  // namespace
}  // namespace moewe
