#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>

#include "comm/buffer.hpp"
#include "runtime/dtype.hpp"

namespace moewe {

/// y = x W^T for one shape of W, with weights packed once; x and W are of one type, sums and y are f32. A row
/// of y has the same bits whatever rows are computed with it: a test before the first use finds out how this
/// machine and library must be used for that. It takes memory for two such W; construction takes nothing
/// large.
class Matmul {
 public:
  /// Rows of one call at most.
  static constexpr std::size_t max_rows = 256;

  /// How many rows the library is given at once. Cheapest first; the first that passes the test is used.
  enum class Rows {
    exact,   ///< as many as there are
    padded,  ///< always padded_rows, the rest zero
    single,  ///< one at a time
  };
  static constexpr std::size_t padded_rows = 64;

  /// Whether this machine has instructions that multiply this type. All have them for f32.
  static bool has_instructions(Dtype dtype);

  /// Of x and W. Where has_instructions(dtype) is false the library may be slow, or throw.
  Matmul(std::size_t in, std::size_t out, Dtype dtype = Dtype::f32);
  ~Matmul();
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;

  std::size_t in() const { return in_; }
  std::size_t out() const { return out_; }

  /// How rows are computed. Tests it, unless that has been done.
  Rows rows() const;

  Dtype dtype() const { return dtype_; }

  /// Of packed weights, a multiple of bytes_of(dtype()).
  std::size_t packed_bytes() const;

  /// `weights` is [out, in], row-major, each rounded to the nearest that the type holds; `packed` has
  /// packed_bytes(), aligned to floats. All thread-safe from here on.
  void pack(std::span<const float> weights, void* packed) const;

  /// The same into memory of its own.
  Buffer pack(MemoryMeter& meter, std::string_view name, std::span<const float> weights) const;

  /// x is [num_rows, in], of dtype(), and y [num_rows, out], both row-major, 1 <= num_rows <= max_rows.
  void apply(const void* x, std::size_t num_rows, const void* packed, float* y) const;

 private:
  struct Library;

  void apply_as(Rows rows, const std::byte* x, std::size_t num_rows, const std::byte* packed, float* y) const;
  void apply_padded(const std::byte* x, std::size_t num_rows, const std::byte* packed, float* y) const;
  bool rows_are_independent(Rows rows, const std::byte* packed) const;
  Rows find_rows() const;

  std::size_t in_;
  std::size_t out_;
  Dtype dtype_;
  std::unique_ptr<Library> library_;
};

/// Shares matmuls, and with them their test, between all uses of one shape and type.
class MatmulCache {
 public:
  std::shared_ptr<const Matmul> get(std::size_t in, std::size_t out, Dtype dtype = Dtype::f32);

 private:
  std::map<std::tuple<std::size_t, std::size_t, Dtype>, std::shared_ptr<const Matmul>> by_shape_;
};

/// "exact", "padded" or "single".
const char* name_of(Matmul::Rows rows);

/// The instruction set that the library uses on this machine, for instance "AVX512".
std::string instruction_set();

}  // namespace moewe
