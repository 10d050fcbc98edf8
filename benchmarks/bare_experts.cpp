#include "benchmarks/bare_experts.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <set>

#include "comm/error.hpp"
#include "runtime/kernels/elementwise.hpp"
#include "runtime/parallel.hpp"

namespace moewe::bench {
namespace {

/// Rows of one dtype as rows of another; both hold the values.
void convert(std::span<const std::byte> from, Dtype from_dtype, std::span<std::byte> to, Dtype to_dtype) {
  const std::size_t count = from.size() / bytes_of(from_dtype);
  const auto* bf16 = reinterpret_cast<const Bf16*>(from.data());
  if (from_dtype == Dtype::bf16 && to_dtype == Dtype::f32) {
    widen_bf16({bf16, count}, {reinterpret_cast<float*>(to.data()), count});
  } else {
    std::ranges::copy(from, to.begin());
  }
}

double plain_activation(Activation activation, double t) {
  constexpr double sqrt_2_over_pi = 0.7978845608028654;
  switch (activation) {
    case Activation::silu:
      return t / (1 + std::exp(-t));
    case Activation::gelu:
      return 0.5 * t * (1 + std::tanh(sqrt_2_over_pi * (t + 0.044715 * t * t * t)));
    case Activation::relu:
      return std::max(t, 0.0);
  }
  return 0;
}

std::set<std::size_t> probed_rows(std::size_t num_rows) { return {0, num_rows / 2, num_rows - 1}; }

}  // namespace

std::string BareWay::name() const {
  return fmt::format("{} {}", name_of(dtype), library_threads ? "library's threads" : "expert per thread");
}

std::vector<BareWay> ways_for(Dtype dtype, std::size_t threads) {
  std::vector<BareWay> ways;
  for (const Dtype of_matmul : {Dtype::bf16, Dtype::f32}) {
    if (of_matmul == Dtype::bf16 && (dtype == Dtype::f32 || !BareMatmul::is_available(of_matmul))) continue;
    ways.push_back({of_matmul, false});
    if (threads > 1) ways.push_back({of_matmul, true});
  }
  return ways;
}

BareExperts::BareExperts(const ExpertWork& work, const KeptWeights& weights, const OwnExperts& own,
                         const BareWay& way, std::size_t threads)
    : work_(work), way_(way), threads_(threads) {
  for (std::size_t n = 0; n < work.rows.size(); ++n) experts_.push_back(load(n, weights, own));
  const std::size_t most_rows = *std::max_element(work.rows.begin(), work.rows.end());
  const std::size_t values = most_rows * work.shape.intermediate;
  for (std::size_t thread = 0; thread < (way.library_threads ? 1 : threads); ++thread) {
    between_.push_back({Buffer(meter_, "gate and up", 2 * values * sizeof(float)),
                        Buffer(meter_, "hidden", values * bytes_of(way.dtype))});
    std::ranges::fill(std::span(between_.back().hidden.data(), between_.back().hidden.size()), std::byte{0});
  }
}

const BareMatmul& BareExperts::matmul(const MatmulShape& shape) {
  std::unique_ptr<BareMatmul>& known = matmuls_[shape];
  if (!known) known = std::make_unique<BareMatmul>(shape, way_.dtype, way_.library_threads ? threads_ : 1);
  return *known;
}

BareExperts::Expert BareExperts::load(std::size_t n, const KeptWeights& weights, const OwnExperts& own) {
  const auto [hidden, intermediate, activation, gated] = work_.shape;
  const std::size_t rows = work_.rows[n];
  const BareMatmul& in = matmul({rows, hidden, 2 * intermediate});
  const BareMatmul& out = matmul({rows, intermediate, hidden});
  Expert expert{&in,
                &out,
                Buffer(meter_, "weights", in.packed_bytes()),
                Buffer(meter_, "weights", out.packed_bytes()),
                Buffer(meter_, "x", rows * hidden * bytes_of(way_.dtype)),
                Buffer(meter_, "y", rows * hidden * sizeof(float))};
  in.pack(weights.gate_up(work_.experts[n]), expert.gate_up.data());
  out.pack(weights.down(work_.experts[n]), expert.down.data());
  const std::size_t row_bytes = hidden * bytes_of(way_.dtype);
  for (std::size_t row = 0; row < rows; ++row) {
    convert(own.input(n, row), work_.dtype, {expert.x.data() + row * row_bytes, row_bytes}, way_.dtype);
  }
  return expert;
}

void BareExperts::run_expert(Expert& expert, Between& between) {
  expert.in->run(expert.x.data(), expert.gate_up.data(), between.gate_up.data());
  expert.out->run(between.hidden.data(), expert.down.data(), expert.y.data());
}

void BareExperts::run() {
  parallel_for(between_.size(), experts_.size(),
               [&](std::size_t n, std::size_t thread) { run_expert(experts_[n], between_[thread]); });
}

void BareExperts::expect_same(const OwnExperts& own) {
  for (std::size_t n = 0; n < experts_.size(); ++n) {
    Expert& expert = experts_[n];
    Between& between = between_.front();
    expert.in->run(expert.x.data(), expert.gate_up.data(), between.gate_up.data());
    for (const std::size_t row : probed_rows(work_.rows[n])) activate_row(row, between);
    expert.out->run(between.hidden.data(), expert.down.data(), expert.y.data());
    for (const std::size_t row : probed_rows(work_.rows[n])) expect_same_row(n, row, own);
  }
}

void BareExperts::activate_row(std::size_t row, Between& between) const {
  const std::size_t intermediate = work_.shape.intermediate;
  const auto* gate = reinterpret_cast<const float*>(between.gate_up.data()) + 2 * row * intermediate;
  for (std::size_t i = 0; i < intermediate; ++i) {
    const double activated = plain_activation(work_.shape.activation, gate[i]) * gate[intermediate + i];
    const auto value = static_cast<float>(activated);
    const Bf16 rounded = round_to_bf16(value);
    const std::size_t place = row * intermediate + i;
    if (way_.dtype == Dtype::bf16) {
      reinterpret_cast<Bf16*>(between.hidden.data())[place] = rounded;
    } else {
      reinterpret_cast<float*>(between.hidden.data())[place] =
          work_.dtype == Dtype::bf16 ? widen(rounded) : value;
    }
  }
}

void BareExperts::expect_same_row(std::size_t n, std::size_t row, const OwnExperts& own) const {
  // bf16 rounds an output to 8 bits, and now and then a hidden value to its other neighbour.
  const double tolerance = work_.dtype == Dtype::f32 ? 2e-5 : 8e-3;
  const std::vector<float> actual = own.output(n, row);
  const auto* expected = reinterpret_cast<const float*>(experts_[n].y.data()) + row * work_.shape.hidden;
  for (std::size_t h = 0; h < actual.size(); ++h) {
    if (std::abs(actual[h] - expected[h]) <= tolerance * (0.5 + std::abs(expected[h]))) continue;
    throw Error(ErrorKind::verification,
                fmt::format("{}: row {} of expert {} has {} at {}, the bare matmuls {}", way_.name(), row, n,
                            actual[h], h, expected[h]));
  }
}

}  // namespace moewe::bench
