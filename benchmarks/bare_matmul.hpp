#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "runtime/dtype.hpp"

namespace moewe::bench {

struct MatmulShape {
  std::size_t rows;
  std::size_t in;
  std::size_t out;

  auto operator<=>(const MatmulShape&) const = default;
};

/// oneDNN's matmul y = x W^T as it comes: made for exactly so many rows, with weights in the layout that it
/// likes best for them. x and W are of `dtype`, y is f32; all that can be done ahead of a run is.
class BareMatmul {
 public:
  /// It is made for, and runs on, `threads` threads of the library's own.
  BareMatmul(const MatmulShape& shape, Dtype dtype, std::size_t threads);
  ~BareMatmul();
  BareMatmul(const BareMatmul&) = delete;
  BareMatmul& operator=(const BareMatmul&) = delete;

  /// Whether the library has a matmul of this type for this machine that is more than its reference loops.
  static bool is_available(Dtype dtype);

  std::size_t packed_bytes() const;

  /// `weights` is [out, in], row-major, and of values that `dtype` holds.
  void pack(std::span<const float> weights, std::byte* packed) const;

  /// x is [rows, in] and y [rows, out]. Thread-safe.
  void run(const std::byte* x, const std::byte* packed, std::byte* y) const;

 private:
  struct Library;

  std::unique_ptr<Library> library_;
  std::size_t threads_;
};

}  // namespace moewe::bench
