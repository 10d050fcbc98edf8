#include "runtime/kernels/dequantise_rows.hpp"

#include "runtime/kernels/portable.hpp"

namespace moewe {
namespace {

template <typename Value>
void dequantise_as(const DequantiseRows& work) {
  auto* const y = reinterpret_cast<Value*>(work.y);
  for (std::size_t row = 0; row < work.num_rows; ++row) {
    const float* const scales = work.scales + row * scales_of(work.hidden);
    for (std::size_t i = 0; i < work.hidden; ++i) {
      const std::size_t at = row * work.hidden + i;
      y[at] = from_f32<Value>(scales[i / scale_block] * to_f32(work.quantised[at]));
    }
  }
}

void dequantise_on_host(const DequantiseRows& work) {
  work.dtype == Dtype::f32 ? dequantise_as<float>(work) : dequantise_as<Bf16>(work);
}

}  // namespace

const Kernel<DequantiseRows> dequantise_rows{"dequantise_rows", dequantise_on_host,
                                             MOEWE_ON_GPU(launch_dequantise_rows)};

}  // namespace moewe
