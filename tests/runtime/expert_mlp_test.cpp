#include "runtime/expert_mlp.hpp"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <vector>

#include "comm/error.hpp"
#include "tests/support/generated_model.hpp"
#include "tests/support/oracle.hpp"

namespace moewe {
namespace {

using test::GeneratedWeights;
using test::random_floats;

constexpr std::uint64_t seed = 3;

std::vector<ExpertShape> shapes() {
  return {{16, 24, Activation::silu, true},  {37, 150, Activation::gelu, true},
          {16, 24, Activation::relu, false}, {130, 33, Activation::silu, false},
          {1, 1, Activation::gelu, true},    {300, 260, Activation::relu, true}};
}

/// One packed expert, and rows for it.
class Expert {
 public:
  Expert(const ExpertShape& shape, Dtype dtype, Dtype output_dtype)
      : spec_{shape, 1, {1, true}},
        dtype_(dtype),
        output_dtype_(output_dtype),
        mlp_(shape, dtype, output_dtype, matmuls_) {
    std::vector<float> weights(mlp_.num_weights());
    const ExpertMatrices matrices = mlp_.matrices_in(weights);
    GeneratedWeights(spec_, seed).read_expert(ExpertId{0}, matrices);
    weights_ = mlp_.pack(meter_, "expert", matrices);
    scratch_.resize(mlp_.scratch_bytes());
  }

  const ExpertMlp& mlp() const { return mlp_; }
  const MemoryMeter& meter() const { return meter_; }

  /// Outputs of rows of x, which bf16 holds, computed together.
  std::vector<float> run(const std::vector<float>& x) {
    const std::size_t hidden = spec_.expert.hidden;
    const std::size_t num_rows = x.size() / hidden;
    const std::vector<std::byte> in = test::as_bytes_of(dtype_, x);
    std::vector<std::byte> out(x.size() * bytes_of(output_dtype_));
    std::vector<Row> rows;
    for (std::size_t i = 0; i < num_rows; ++i) {
      // Outputs in reverse order: rows lie anywhere.
      rows.push_back({in.data() + i * mlp_.row_bytes(), out.data() + (num_rows - 1 - i) * mlp_.output_bytes(),
                      Rank{0}, 0, 0});
    }
    mlp_.run(rows, weights_, scratch_);
    std::vector<float> y;
    for (const Row& row : rows) {
      for (std::size_t h = 0; h < hidden; ++h) y.push_back(read(row.output, h));
    }
    return y;
  }

  /// What the oracle makes of them.
  std::vector<double> plain(const std::vector<float>& x) const {
    const std::size_t num_rows = x.size() / spec_.expert.hidden;
    const std::vector<ExpertId> experts(num_rows, ExpertId{0});
    const std::vector<float> weights(num_rows, 1.0F);
    return plain_moe(spec_, GeneratedWeights(spec_, seed), {num_rows, 1, experts, weights, {}}, x, dtype_);
  }

 private:
  float read(const std::byte* row, std::size_t h) const {
    return output_dtype_ == Dtype::f32 ? reinterpret_cast<const float*>(row)[h]
                                       : widen(reinterpret_cast<const Bf16*>(row)[h]);
  }

  LayerSpec spec_;
  Dtype dtype_;
  Dtype output_dtype_;
  MemoryMeter meter_;
  MatmulCache matmuls_;
  ExpertMlp mlp_;
  ExpertWeights weights_;
  std::vector<std::byte> scratch_;
};

std::vector<float> first_rows(const std::vector<float>& x, std::size_t count, std::size_t hidden) {
  return {x.begin(), x.begin() + static_cast<std::ptrdiff_t>(count * hidden)};
}

TEST(ExpertMlp, ComputesWhatTheOracleDoesForEveryTileSize) {
  for (const ExpertShape& shape : shapes()) {
    Expert expert(shape, Dtype::f32, Dtype::f32);
    const std::vector<float> x = random_floats(expert.mlp().tile_rows() * shape.hidden, 7);
    const std::vector<double> expected = expert.plain(x);
    for (std::size_t rows = 1; rows <= expert.mlp().tile_rows(); rows = rows < 5 ? rows + 1 : rows * 2 - 3) {
      const std::vector<float> y = expert.run(first_rows(x, rows, shape.hidden));
      for (std::size_t i = 0; i < y.size(); ++i) {
        ASSERT_NEAR(y[i], expected[i], 2e-6 * (1 + std::abs(expected[i]))) << rows << " rows, value " << i;
      }
    }
    EXPECT_EQ(expert.run(x).size(), x.size());  // a whole tile
  }
}

TEST(ExpertMlp, GivesARowTheSameBitsInAnyCompany) {
  for (const ExpertShape& shape : shapes()) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      Expert expert(shape, dtype, dtype);
      const std::vector<float> x = random_floats(expert.mlp().tile_rows() * shape.hidden, 8);
      const std::vector<float> all = expert.run(x);
      for (const std::size_t rows : {1U, 2U, 3U, 17U, 63U}) {
        EXPECT_EQ(expert.run(first_rows(x, rows, shape.hidden)), first_rows(all, rows, shape.hidden));
      }
      const auto last = static_cast<std::ptrdiff_t>(shape.hidden);
      EXPECT_EQ(expert.run({x.end() - last, x.end()}), std::vector<float>(all.end() - last, all.end()));
    }
  }
}

TEST(ExpertMlp, RoundsToBf16OnceWhereItSaysSo) {
  std::size_t num_equal = 0, num_values = 0;
  for (const ExpertShape& shape : shapes()) {
    Expert narrow(shape, Dtype::bf16, Dtype::bf16);
    Expert wide(shape, Dtype::bf16, Dtype::f32);
    std::vector<float> x = random_floats(40 * shape.hidden, 9);
    for (float& value : x) value = widen(round_to_bf16(value));
    const std::vector<float> y = narrow.run(x);
    const std::vector<double> expected = narrow.plain(x);
    std::vector<float> rounded = wide.run(x);
    for (float& value : rounded) value = widen(round_to_bf16(value));
    EXPECT_EQ(y, rounded) << "an f32 output is the same one, not rounded";
    for (std::size_t i = 0; i < y.size(); ++i) {
      if (static_cast<double>(y[i]) == expected[i]) ++num_equal;
    }
    num_values += y.size();
  }
  // But for values that f32's own errors move over the middle between two bf16.
  EXPECT_GT(static_cast<double>(num_equal), 0.97 * static_cast<double>(num_values));
}

TEST(ExpertMlp, CountsThePackedWeightsUnderTheirName) {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    const Expert expert({300, 260, Activation::silu, true}, dtype, dtype);
    EXPECT_EQ(expert.meter().by_name().at("expert").bytes, expert.mlp().weight_bytes());
    EXPECT_GE(expert.mlp().weight_bytes(), expert.mlp().num_weights() * bytes_of(dtype));
  }
}

TEST(ExpertMlp, RefusesMoreRowsThanATileHolds) {
  Expert expert({4, 4, Activation::relu, false}, Dtype::f32, Dtype::f32);
  EXPECT_THROW(expert.run(std::vector<float>((expert.mlp().tile_rows() + 1) * 4)), Error);
}

TEST(ExpertMlp, TakesFewerRowsTheLongerTheyAre) {
  MatmulCache matmuls;
  const ExpertMlp small({16, 24, Activation::silu, false}, Dtype::f32, Dtype::f32, matmuls);
  const ExpertMlp large({6000, 6000, Activation::silu, false}, Dtype::f32, Dtype::f32, matmuls);
  EXPECT_EQ(small.tile_rows(), Matmul::max_rows);
  EXPECT_LT(large.tile_rows(), Matmul::max_rows);
}

}  // namespace
}  // namespace moewe
