#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "runtime/dtype.hpp"
#include "runtime/kernels/matmul.hpp"

namespace moewe {

/// A weight matrix [out, in] cut into panels of neighbouring outputs, each packed for a matmul of its own:
/// what a panel yields is used while it is in cache. Weights in bf16 stay so in memory. Where the machine has
/// instructions for them, they are multiplied as they are; elsewhere they are widened panel by panel, which
/// costs less than reading twice the bytes.
class Panels {
 public:
  /// Outputs of one panel at most.
  static constexpr std::size_t max_width = 128;

  /// Panels are as wide as max_width, unless `in` is so long that one would leave the cache; the last one may
  /// be narrower. Widths are multiples of `granularity`, as is `out`.
  Panels(std::size_t in, std::size_t out, Dtype dtype, MatmulCache& matmuls, std::size_t granularity = 1);

  std::size_t in() const { return in_; }

  /// Of the rows that are multiplied: that of the weights, or f32 where they are widened.
  Dtype input() const { return full_->dtype(); }

  std::size_t num_panels() const { return (out_ + width_ - 1) / width_; }
  std::size_t width(std::size_t panel) const {
    return panel + 1 < num_panels() ? width_ : out_ - panel * width_;
  }
  std::size_t first_output(std::size_t panel) const { return panel * width_; }

  /// Of all panels together.
  std::size_t packed_bytes() const;

  /// Floats of scratch that pack_panel and apply need each.
  std::size_t scratch_length() const;

  /// `weights` is [width(panel), in], row-major; in bf16 each is rounded to the nearest. `packed` is where
  /// all panels lie.
  void pack_panel(std::size_t panel, std::span<const float> weights, std::byte* packed, float* scratch) const;

  /// y = x W^T for the panel's outputs: x is [num_rows, in] of input(), y [num_rows, width(panel)], 1 <=
  /// num_rows <= Matmul::max_rows. Thread-safe.
  void apply(std::size_t panel, const void* x, std::size_t num_rows, const std::byte* packed, float* scratch,
             float* y) const;

  /// Of the order in which packed weights lie, which depends on machine and library.
  std::uint64_t layout_digest() const;

  /// How the matmuls are used on this machine.
  Matmul::Rows rows() const { return full_->rows(); }

  /// Tests the matmuls now, instead of before their first use.
  void test() const {
    full_->rows();
    last_->rows();
  }

 private:
  bool widens() const { return input() != dtype_; }
  std::size_t bytes_in_memory(const Matmul& matmul) const;
  const Matmul& matmul(std::size_t panel) const { return panel + 1 < num_panels() ? *full_ : *last_; }

  std::size_t in_;
  std::size_t out_;
  Dtype dtype_;
  std::size_t width_;
  std::shared_ptr<const Matmul> full_;
  std::shared_ptr<const Matmul> last_;
};

}  // namespace moewe
