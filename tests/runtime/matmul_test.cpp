#include "runtime/kernels/matmul.hpp"

#include <cstring>
#include <gtest/gtest.h>
#include <omp.h>

#include "tests/support/generated_model.hpp"

namespace moewe {
namespace {

using test::random_floats;

/// Numbers of rows around the sizes of blocks that a library may cut them into.
constexpr std::size_t row_counts[] = {1, 2, 3, 5, 8, 13, 16, 31, 33, 64, 65, 100, 255, 256};

struct Shape {
  std::size_t in, out;
};

class MatmulShapes : public ::testing::TestWithParam<Shape> {};

TEST_P(MatmulShapes, AreCloseToPlainLoopsForEveryNumberOfRows) {
  const auto [in, out] = GetParam();
  const Matmul matmul(in, out);
  MemoryMeter meter;
  const std::vector<float> w = random_floats(in * out, 1);
  const std::vector<float> x = random_floats(Matmul::max_rows * in, 2);
  const Buffer packed = matmul.pack(meter, "test", w);
  for (const std::size_t rows : row_counts) {
    std::vector<float> y(rows * out);
    matmul.apply(x.data(), rows, packed, y.data());
    for (std::size_t i = 0; i < y.size(); ++i) {
      double expected = 0;
      double magnitude = 0;
      for (std::size_t k = 0; k < in; ++k) {
        const double product = static_cast<double>(x[i / out * in + k]) * w[i % out * in + k];
        expected += product;
        magnitude += std::abs(product);
      }
      ASSERT_NEAR(y[i], expected, 1e-6 * magnitude) << rows << " rows, value " << i;
    }
  }
}

TEST_P(MatmulShapes, GiveARowTheSameBitsInAnyCompany) {
  const auto [in, out] = GetParam();
  const Matmul matmul(in, out);
  MemoryMeter meter;
  const Buffer packed = matmul.pack(meter, "test", random_floats(in * out, 3));
  const std::vector<float> x = random_floats(Matmul::max_rows * in, 4);
  std::vector<float> alone(Matmul::max_rows * out);
  for (std::size_t row = 0; row < Matmul::max_rows; ++row) {
    matmul.apply(x.data() + row * in, 1, packed, alone.data() + row * out);
  }
  for (const std::size_t rows : row_counts) {
    const std::size_t first = Matmul::max_rows - rows;
    std::vector<float> together(rows * out);
    matmul.apply(x.data() + first * in, rows, packed, together.data());
    ASSERT_EQ(std::memcmp(together.data(), alone.data() + first * out, together.size() * sizeof(float)), 0)
        << rows << " rows used as " << name_of(matmul.rows());
  }
}

TEST_P(MatmulShapes, GiveTheSameBitsWhateverTheNumberOfThreads) {
  const auto [in, out] = GetParam();
  MemoryMeter meter;
  const std::vector<float> w = random_floats(in * out, 3);
  const std::vector<float> x = random_floats(Matmul::max_rows * in, 4);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 4}) {
    omp_set_num_threads(threads);
    const Matmul matmul(in, out);
    const Buffer packed = matmul.pack(meter, "test", w);
    results.emplace_back(5 * out);
    matmul.apply(x.data(), 5, packed, results.back().data());
  }
  omp_set_num_threads(1);
  EXPECT_EQ(results[0], results[1]);
}

INSTANTIATE_TEST_SUITE_P(Shapes, MatmulShapes,
                         ::testing::Values(Shape{1, 1}, Shape{128, 8}, Shape{128, 512}, Shape{256, 128},
                                           Shape{37, 48}, Shape{24, 37}, Shape{1000, 300}, Shape{4096, 64}),
                         [](const auto& shape) {
                           return std::to_string(shape.param.in) + "x" + std::to_string(shape.param.out);
                         });

}  // namespace
}  // namespace moewe
