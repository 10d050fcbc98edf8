#include "runtime/generated_weights.hpp"

#include <algorithm>
#include <cmath>

#include "runtime/dtype.hpp"
#include "runtime/parallel.hpp"
#include "runtime/random.hpp"

namespace moewe {
namespace {

constexpr std::size_t block = 1 << 16;  // even

/// Two values of 24 bits from each number of 64; `first` is where the block's numbers begin.
void fill_block(std::span<float> values, std::uint64_t first, float deviation) {
  const auto value = [&](std::uint64_t bits) {
    return widen(round_to_bf16(uniform_value(bits) * deviation));
  };
  const std::size_t num_pairs = values.size() / 2;
  for (std::size_t i = 0; i < num_pairs; ++i) {
    const std::uint64_t bits = scatter(first + i);
    values[2 * i] = value(bits);
    values[2 * i + 1] = value(bits << 24U);
  }
  if (values.size() % 2 == 1) values.back() = value(scatter(first + num_pairs));
}

float deviation_for(std::size_t inputs) { return 1.0F / std::sqrt(static_cast<float>(inputs)); }

}  // namespace

/// Numbers that are part of what a seed means. An expert's gate is followed by its up and its down.
enum class GeneratedWeights::Tensor : std::uint64_t {
  router = 0,
  selection_bias = 1,
  expert = 2,
  shared = 5
};

GeneratedWeights::GeneratedWeights(const LayerSpec& spec, std::uint64_t seed, std::size_t layer,
                                   std::size_t num_threads)
    : spec_(spec), layer_stream_(scatter(scatter(seed) ^ layer)), num_threads_(num_threads) {}

std::uint64_t GeneratedWeights::stream(Tensor tensor, ExpertId expert) const {
  return scatter(scatter(layer_stream_ ^ static_cast<std::uint64_t>(tensor)) ^ index(expert));
}

void GeneratedWeights::fill(std::span<float> values, std::uint64_t stream, float deviation) const {
  const std::size_t num_blocks = (values.size() + block - 1) / block;
  parallel_for(num_threads_, num_blocks, [&](std::size_t b, std::size_t) {
    const std::size_t size = std::min(block, values.size() - b * block);
    fill_block(values.subspan(b * block, size), stream + b * (block / 2), deviation);
  });
}

void GeneratedWeights::fill_matrices(const ExpertMatrices& matrices, const ExpertShape& shape, Tensor gate,
                                     ExpertId expert) const {
  const auto after_gate = [&](std::uint64_t n) {
    return stream(static_cast<Tensor>(static_cast<std::uint64_t>(gate) + n), expert);
  };
  expects(matrices.up.size() == shape.hidden * shape.intermediate &&
              matrices.gate.size() == (shape.gated ? matrices.up.size() : 0) &&
              matrices.down.size() == matrices.up.size(),
          "an expert's matrices have its shape");
  fill(matrices.gate, after_gate(0), deviation_for(shape.hidden));
  fill(matrices.up, after_gate(1), deviation_for(shape.hidden));
  fill(matrices.down, after_gate(2), deviation_for(shape.intermediate));
}

void GeneratedWeights::read_router(std::span<float> weights) const {
  fill(weights, stream(Tensor::router, ExpertId{0}), deviation_for(spec_.expert.hidden));
}

void GeneratedWeights::read_selection_bias(std::span<float> bias) const {
  constexpr float sqrt_3 = 1.7320508F;
  fill(bias, stream(Tensor::selection_bias, ExpertId{0}), 0.05F / sqrt_3);
}

void GeneratedWeights::read_expert(ExpertId expert, const ExpertMatrices& matrices) const {
  fill_matrices(matrices, spec_.expert, Tensor::expert, expert);
}

void GeneratedWeights::read_shared_expert(const ExpertMatrices& matrices) const {
  fill_matrices(matrices, spec_.shared_expert(), Tensor::shared, ExpertId{0});
}

}  // namespace moewe
