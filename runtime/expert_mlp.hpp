#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "comm/buffer.hpp"
#include "runtime/dtype.hpp"
#include "runtime/kernels/panels.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/meanwhile.hpp"
#include "runtime/row_table.hpp"
#include "runtime/slot_table.hpp"
#include "runtime/weight_source.hpp"

namespace moewe {

/// One expert's MLP for some rows at a time. A row's output depends on that row and its expert alone, to the
/// bit.
class ExpertMlp {
 public:
  /// Weights and rows are of `dtype`, outputs of `output_dtype`.
  ExpertMlp(const ExpertShape& shape, Dtype dtype, Dtype output_dtype, MatmulCache& matmuls);

  std::size_t row_bytes() const { return shape_.hidden * bytes_of(dtype_); }
  std::size_t output_bytes() const { return shape_.hidden * bytes_of(output_dtype_); }

  /// Floats that the matrices take as they are read.
  std::size_t num_weights() const { return (shape_.gated ? 3 : 2) * shape_.hidden * shape_.intermediate; }

  /// Where one expert's matrices lie in num_weights() floats.
  ExpertMatrices matrices_in(std::span<float> weights) const;

  /// Bytes of one expert's packed weights.
  std::size_t weight_bytes() const { return in_->packed_bytes() + out_->packed_bytes(); }
  ExpertWeights pack(MemoryMeter& meter, std::string_view name, const ExpertMatrices& matrices) const;

  /// The same into memory that is there already.
  void pack(const ExpertMatrices& matrices, ExpertWeights& packed) const;

  /// Room for one expert's packed weights.
  ExpertWeights allocate(MemoryMeter& meter, std::string_view name) const;

  /// Of how weights are packed, which depends on machine and library: packed weights may be copied between
  /// ranks with equal digests.
  std::uint64_t layout_digest() const;

  /// Rows of one call of run() at most: as many as keep inputs and hidden activations near the core.
  std::size_t tile_rows() const;

  /// That run() works in.
  std::size_t scratch_bytes() const;

  /// Local, and thread-safe for different scratch. Reads every row's input and writes its output, both
  /// [hidden]. At most tile_rows() rows. Calls `meanwhile` after every panel of weights: about once in a
  /// millisecond.
  void run(std::span<const Row> rows, const ExpertWeights& weights, std::span<std::byte> scratch,
           const Meanwhile& meanwhile = {}) const;

  /// How the matmuls are used on this machine.
  Matmul::Rows rows() const { return in_->rows(); }

  /// Tests the matmuls now, instead of before their first use.
  void test() const {
    in_->test();
    out_->test();
  }

 private:
  /// Parts of the scratch.
  struct Tile {
    float* panel;       // [tile_rows, Panels::max_width]
    float* widened;     // a panel of weights
    std::byte* x;       // [tile_rows, hidden] of in_->input()
    std::byte* hidden;  // [tile_rows, intermediate] of out_->input()
  };

  Tile lay_out(std::byte* scratch) const;
  std::size_t row_bytes_in_tile() const;
  std::size_t widened_length() const;
  void pull(std::span<const Row> rows, std::byte* x) const;
  void activate_panel(std::size_t panel, std::size_t num_rows, const Tile& tile) const;
  void activate_row(float* panel_row, std::size_t count, std::byte* hidden) const;
  void store_panel(std::size_t panel, std::span<const Row> rows, const Tile& tile) const;

  ExpertShape shape_;
  Dtype dtype_;
  Dtype output_dtype_;
  std::optional<Panels> in_;   // gate and up, half a panel each; or up alone
  std::optional<Panels> out_;  // down
};

}  // namespace moewe
