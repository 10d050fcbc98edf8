#include "runtime/kernels/matmul.hpp"

#include <cstring>
#include <fmt/format.h>
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
  Dtype dtype;
};

/// Values that the shape's type holds, as it holds them.
std::vector<std::byte> rows_of(const Shape& shape, const std::vector<float>& values) {
  return test::as_bytes_of(shape.dtype, values);
}

const std::byte* row_at(const std::vector<std::byte>& rows, const Shape& shape, std::size_t row) {
  return rows.data() + row * shape.in * bytes_of(shape.dtype);
}

std::vector<float> random_values(const Shape& shape, std::size_t count, std::uint64_t seed) {
  const std::vector<float> values = random_floats(count, seed);
  return shape.dtype == Dtype::f32 ? values : test::as_bf16(values);
}

class MatmulShapes : public ::testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    if (!Matmul::has_instructions(GetParam().dtype)) GTEST_SKIP() << "this machine does not multiply bf16";
  }
};

TEST_P(MatmulShapes, AreCloseToPlainLoopsForEveryNumberOfRows) {
  const auto [in, out, dtype] = GetParam();
  const Matmul matmul(in, out, dtype);
  MemoryMeter meter;
  const std::vector<float> w = random_values(GetParam(), in * out, 1);
  const std::vector<float> x = random_values(GetParam(), Matmul::max_rows * in, 2);
  const Buffer packed = matmul.pack(meter, "test", w);
  for (const std::size_t rows : row_counts) {
    std::vector<float> y(rows * out);
    matmul.apply(rows_of(GetParam(), x).data(), rows, packed.data(), y.data());
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
  const auto [in, out, dtype] = GetParam();
  const Matmul matmul(in, out, dtype);
  MemoryMeter meter;
  const Buffer packed = matmul.pack(meter, "test", random_values(GetParam(), in * out, 3));
  const auto x = rows_of(GetParam(), random_values(GetParam(), Matmul::max_rows * in, 4));
  std::vector<float> alone(Matmul::max_rows * out);
  for (std::size_t row = 0; row < Matmul::max_rows; ++row) {
    matmul.apply(row_at(x, GetParam(), row), 1, packed.data(), alone.data() + row * out);
  }
  for (const std::size_t rows : row_counts) {
    const std::size_t first = Matmul::max_rows - rows;
    std::vector<float> together(rows * out);
    matmul.apply(row_at(x, GetParam(), first), rows, packed.data(), together.data());
    ASSERT_EQ(std::memcmp(together.data(), alone.data() + first * out, together.size() * sizeof(float)), 0)
        << rows << " rows used as " << name_of(matmul.rows());
  }
}

TEST_P(MatmulShapes, GiveTheSameBitsWhateverTheNumberOfThreads) {
  const auto [in, out, dtype] = GetParam();
  MemoryMeter meter;
  const std::vector<float> w = random_values(GetParam(), in * out, 3);
  const auto x = rows_of(GetParam(), random_values(GetParam(), Matmul::max_rows * in, 4));
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 4}) {
    omp_set_num_threads(threads);
    const Matmul matmul(in, out, dtype);
    const Buffer packed = matmul.pack(meter, "test", w);
    results.emplace_back(5 * out);
    matmul.apply(x.data(), 5, packed.data(), results.back().data());
  }
  omp_set_num_threads(1);
  EXPECT_EQ(results[0], results[1]);
}

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    for (const auto& [in, out] : std::initializer_list<std::pair<std::size_t, std::size_t>>{
             {1, 1}, {128, 8}, {128, 512}, {256, 128}, {37, 48}, {24, 37}, {1000, 300}, {4096, 64}}) {
      all.push_back({in, out, dtype});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Shapes, MatmulShapes, ::testing::ValuesIn(shapes()), [](const auto& shape) {
  return fmt::format("{}x{}_{}", shape.param.in, shape.param.out, name_of(shape.param.dtype));
});

}  // namespace
}  // namespace moewe
