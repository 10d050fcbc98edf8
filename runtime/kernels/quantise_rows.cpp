#include "runtime/kernels/quantise_rows.hpp"

#include <algorithm>

#include "runtime/kernels/block_scale.hpp"
#include "runtime/kernels/portable.hpp"

namespace moewe {
namespace {

template <typename Value>
float quantise_block(const Value* from, std::size_t count, E4m3* to) {
  float largest = 0.0F;
  for (std::size_t i = 0; i < count; ++i) largest = std::max(largest, magnitude_of(to_f32(from[i])));
  const float scale = scale_for(largest);
  for (std::size_t i = 0; i < count; ++i) to[i] = quantise(to_f32(from[i]), scale);
  return scale;
}

template <typename Value>
void quantise_as(const QuantiseRows& work) {
  const auto* const x = reinterpret_cast<const Value*>(work.x);
  float* scale = work.scales;
  for (std::size_t row = 0; row < work.num_rows; ++row) {
    for (std::size_t first = 0; first < work.hidden; first += scale_block) {
      const std::size_t count = std::min<std::size_t>(scale_block, work.hidden - first);
      const std::size_t at = row * work.hidden + first;
      *scale++ = quantise_block(x + at, count, work.quantised + at);
    }
  }
}

void quantise_on_host(const QuantiseRows& work) {
  work.dtype == Dtype::f32 ? quantise_as<float>(work) : quantise_as<Bf16>(work);
}

}  // namespace

const Kernel<QuantiseRows> quantise_rows{"quantise_rows", quantise_on_host,
                                         MOEWE_ON_GPU(launch_quantise_rows)};

}  // namespace moewe
