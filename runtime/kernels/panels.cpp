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

std::size_t choose_width(std::size_t in, std::size_t out, std::size_t granularity) {
  const std::size_t in_cache = panel_cache_bytes / (in * sizeof(float)) / least_width * least_width;
  const std::size_t width = std::clamp(in_cache, least_width, Panels::max_width);
  return std::min(out, std::max(granularity, width / granularity * granularity));
}

}  // namespace

Panels::Panels(std::size_t in, std::size_t out, Dtype dtype, MatmulCache& matmuls, std::size_t granularity)
    : in_(in), out_(out), dtype_(dtype), width_(choose_width(in, out, granularity)) {
  expects(out % granularity == 0, "a matrix is cut into whole panels");
  full_ = matmuls.get(in, width(0));
  last_ = matmuls.get(in, width(num_panels() - 1));
}

std::size_t Panels::packed_bytes() const {
  return ((num_panels() - 1) * full_->packed_length() + last_->packed_length()) * bytes_of(dtype_);
}

std::size_t Panels::scratch_length() const { return dtype_ == Dtype::f32 ? 0 : full_->packed_length(); }

void Panels::pack_panel(std::size_t panel, std::span<const float> weights, std::byte* packed,
                        float* scratch) const {
  std::byte* const place = packed + panel * full_->packed_length() * bytes_of(dtype_);
  if (dtype_ == Dtype::f32) {
    matmul(panel).pack(weights, reinterpret_cast<float*>(place));
    return;
  }
  const std::size_t length = matmul(panel).packed_length();
  matmul(panel).pack(weights, scratch);
  round_to_bf16({scratch, length}, {reinterpret_cast<Bf16*>(place), length});
}

std::uint64_t Panels::layout_digest() const {
  std::uint64_t digest = packed_bytes();
  for (const Matmul* matmul : {full_.get(), last_.get()}) {
    std::vector<float> weights(matmul->in() * matmul->out()), packed(matmul->packed_length());
    std::iota(weights.begin(), weights.end(), 1.0F);
    matmul->pack(weights, packed.data());
    digest = XXH3_64bits_withSeed(packed.data(), packed.size() * sizeof(float), digest);
  }
  return digest;
}

void Panels::apply(std::size_t panel, const float* x, std::size_t num_rows, const std::byte* packed,
                   float* scratch, float* y) const {
  const std::byte* const place = packed + panel * full_->packed_length() * bytes_of(dtype_);
  if (dtype_ == Dtype::f32) {
    matmul(panel).apply(x, num_rows, reinterpret_cast<const float*>(place), y);
    return;
  }
  const std::size_t length = matmul(panel).packed_length();
  widen_bf16({reinterpret_cast<const Bf16*>(place), length}, {scratch, length});
  matmul(panel).apply(x, num_rows, scratch, y);
}

}  // namespace moewe
