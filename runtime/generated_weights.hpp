#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/layer_spec.hpp"
#include "runtime/weight_source.hpp"

namespace moewe {

/// Weights of one layer from a seed. A value depends on seed, layer, tensor, expert and its place in the
/// tensor, and on nothing else: an expert is the same on whatever rank it is made. All are values that bf16
/// holds, so that runs with f32 and with bf16 weights use the same.
///
/// A matrix is uniform with variance 1 / inputs, which keeps the size of activations; a selection bias is
/// uniform within +-0.05.
class GeneratedWeights : public WeightSource {
 public:
  GeneratedWeights(const LayerSpec& spec, std::uint64_t seed, std::size_t layer, std::size_t num_threads);

  void read_router(std::span<float> weights) const override;
  void read_expert(ExpertId expert, const ExpertMatrices& matrices) const override;
  void read_selection_bias(std::span<float> bias) const override;
  void read_shared_expert(const ExpertMatrices& matrices) const override;

 private:
  enum class Tensor : std::uint64_t;

  std::uint64_t stream(Tensor tensor, ExpertId expert) const;
  void fill(std::span<float> values, std::uint64_t stream, float deviation) const;
  void fill_matrices(const ExpertMatrices& matrices, const ExpertShape& shape, Tensor gate,
                     ExpertId expert) const;

  LayerSpec spec_;
  std::uint64_t layer_stream_;
  std::size_t num_threads_;
};

}  // namespace moewe
