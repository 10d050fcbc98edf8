#include "runtime/kernels/panels.hpp"

#include <algorithm>
#include <numeric>
#include <vector>
#include <xxhash.h>

#include "comm/error.hpp"
#include "runtime/kernels/elementwise.hpp"

namespace moewe {
namespace {

/// Half of a common L2 cache: the other half is for the rows.
constexpr std::size_t panel_cache_bytes = std::size_t{512} << 10;
constexpr std::size_t least_width = 64;

std::size_t choose_width(std::size_t in, std::size_t out, Dtype multiplied, std::size_t granularity) {
  const std::size_t in_cache = panel_cache_bytes / (in * bytes_of(multiplied)) / least_width * least_width;
  const std::size_t width = std::clamp(in_cache, least_width, Panels::max_width);
  return std::min(out, std::max(granularity, width / granularity * granularity));
}

}  // namespace

Panels::Panels(std::size_t in, std::size_t out, Dtype dtype, MatmulCache& matmuls, std::size_t granularity)
    : in_(in), out_(out), dtype_(dtype) {
  expects(out % granularity == 0, "a matrix is cut into whole panels");
  const Dtype multiplied = Matmul::has_instructions(dtype) ? dtype : Dtype::f32;
  width_ = choose_width(in, out, multiplied, granularity);
  full_ = matmuls.get(in, width(0), multiplied);
  last_ = matmuls.get(in, width(num_panels() - 1), multiplied);
}

std::size_t Panels::bytes_in_memory(const Matmul& matmul) const {
  return matmul.packed_bytes() / bytes_of(input()) * bytes_of(dtype_);
}

std::size_t Panels::packed_bytes() const {
  return (num_panels() - 1) * bytes_in_memory(*full_) + bytes_in_memory(*last_);
}

std::size_t Panels::scratch_length() const { return widens() ? full_->packed_bytes() / sizeof(float) : 0; }

void Panels::pack_panel(std::size_t panel, std::span<const float> weights, std::byte* packed,
                        float* scratch) const {
  std::byte* const place = packed + panel * bytes_in_memory(*full_);
  if (!widens()) {
    matmul(panel).pack(weights, place);
    return;
  }
  const std::size_t length = matmul(panel).packed_bytes() / sizeof(float);
  matmul(panel).pack(weights, scratch);
  round_to_bf16({scratch, length}, {reinterpret_cast<Bf16*>(place), length});
}

std::uint64_t Panels::layout_digest() const {
  std::uint64_t digest = packed_bytes();
  for (const Matmul* matmul : {full_.get(), last_.get()}) {
    std::vector<float> weights(matmul->in() * matmul->out());
    std::vector<std::byte> packed(matmul->packed_bytes());
    std::iota(weights.begin(), weights.end(), 1.0F);
    matmul->pack(weights, packed.data());
    digest = XXH3_64bits_withSeed(packed.data(), packed.size(), digest);
  }
  return digest;
}

void Panels::apply(std::size_t panel, const void* x, std::size_t num_rows, const std::byte* packed,
                   float* scratch, float* y) const {
  const std::byte* const place = packed + panel * bytes_in_memory(*full_);
  if (!widens()) {
    matmul(panel).apply(x, num_rows, place, y);
    return;
  }
  const std::size_t length = matmul(panel).packed_bytes() / sizeof(float);
  widen_bf16({reinterpret_cast<const Bf16*>(place), length}, {scratch, length});
  matmul(panel).apply(x, num_rows, scratch, y);
}

}  // namespace moewe
