#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "comm/buffer.hpp"

namespace moewe {

/// y = x W^T in f32 for one shape of W, with weights packed once. A row of y has the same bits whatever rows
/// are computed with it: a test before the first use finds out how this machine and library must be used for
/// that. It takes memory for two such W; construction takes nothing large.
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

  Matmul(std::size_t in, std::size_t out);
  ~Matmul();
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;

  std::size_t in() const { return in_; }
  std::size_t out() const { return out_; }

  /// How rows are computed. Tests it, unless that has been done.
  Rows rows() const;

  /// Floats that packed weights take.
  std::size_t packed_length() const;

  /// `weights` is [out, in], row-major; `packed` has packed_length() floats. All thread-safe from here on.
  void pack(std::span<const float> weights, float* packed) const;

  /// The same into memory of its own.
  Buffer pack(MemoryMeter& meter, std::string_view name, std::span<const float> weights) const;

  /// x is [num_rows, in] and y [num_rows, out], both row-major, 1 <= num_rows <= max_rows.
  void apply(const float* x, std::size_t num_rows, const float* packed, float* y) const;
  void apply(const float* x, std::size_t num_rows, const Buffer& packed, float* y) const {
    apply(x, num_rows, packed.as<float>(packed_length()).data(), y);
  }

 private:
  struct Library;

  void apply_as(Rows rows, const float* x, std::size_t num_rows, const float* packed, float* y) const;
  void apply_padded(const float* x, std::size_t num_rows, const float* packed, float* y) const;
  bool rows_are_independent(Rows rows, const float* packed) const;
  Rows find_rows() const;

  std::size_t in_;
  std::size_t out_;
  std::unique_ptr<Library> library_;
};

/// Shares matmuls, and with them their test, between all uses of one shape.
class MatmulCache {
 public:
  std::shared_ptr<const Matmul> get(std::size_t in, std::size_t out);

 private:
  std::map<std::pair<std::size_t, std::size_t>, std::shared_ptr<const Matmul>> by_shape_;
};

/// "exact", "padded" or "single".
const char* name_of(Matmul::Rows rows);

/// The instruction set that the library uses on this machine, for instance "AVX512".
std::string instruction_set();

}  // namespace moewe
