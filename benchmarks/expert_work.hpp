#pragma once

#include <cstddef>
#include <vector>

#include "runtime/dtype.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/weight_source.hpp"

namespace moewe::bench {

/// What is to be computed: rows for some experts of one shape, which is gated.
struct ExpertWork {
  ExpertShape shape;
  std::vector<ExpertId> experts;
  std::vector<std::size_t> rows;  ///< per expert, at least 1
  Dtype dtype = Dtype::f32;

  /// Multiplications and additions of the matmuls alone.
  double flops() const {
    double total = 0;
    for (const std::size_t count : rows) total += 6.0 * static_cast<double>(count);
    return total * static_cast<double>(shape.hidden) * static_cast<double>(shape.intermediate);
  }
};

/// A layer's weights, read once from another source and kept as they are.
class KeptWeights : public WeightSource {
 public:
  KeptWeights(const LayerSpec& spec, const WeightSource& source);

  void read_router(std::span<float> weights) const override;
  void read_expert(ExpertId expert, const ExpertMatrices& matrices) const override;

  /// Gate over up, [2 intermediate, hidden], and down, [hidden, intermediate].
  std::span<const float> gate_up(ExpertId expert) const { return experts_[index(expert)].gate_up; }
  std::span<const float> down(ExpertId expert) const { return experts_[index(expert)].down; }

 private:
  struct Expert {
    std::vector<float> gate_up;
    std::vector<float> down;
  };

  std::vector<float> router_;
  std::vector<Expert> experts_;
};

}  // namespace moewe::bench
