#include "runtime/kernels/multiply_rows.hpp"

#include <algorithm>
#include <vector>

#include "runtime/kernels/multiply_sums.hpp"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(MOEWE_SANITIZED)
#define MOEWE_WITH_FUSED_PRODUCTS [[gnu::target_clones("avx512f", "fma", "default")]]
#else
#define MOEWE_WITH_FUSED_PRODUCTS
#endif

namespace moewe {
namespace {

constexpr std::uint32_t width = 32;  // of a panel: sums that are computed side by side

/// `panel` is [in, width].
MOEWE_WITH_FUSED_PRODUCTS
void sum_products(const float* x, const float* panel, std::uint32_t in, float* sums) {
  float local[width] = {};
  for (std::uint32_t k = 0; k < in; ++k, panel += width) {
    for (std::uint32_t j = 0; j < width; ++j) local[j] = __builtin_fmaf(x[k], panel[j], local[j]);
  }
  std::copy_n(local, width, sums);
}

float value_at(const std::byte* values, std::size_t i, Dtype dtype) {
  return dtype == Dtype::f32 ? reinterpret_cast<const float*>(values)[i]
                             : to_f32(reinterpret_cast<const Bf16*>(values)[i]);
}

void store_at(std::byte* values, std::size_t i, Dtype dtype, float value) {
  if (dtype == Dtype::f32) {
    reinterpret_cast<float*>(values)[i] = value;
  } else {
    reinterpret_cast<Bf16*>(values)[i] = round_to_bf16(value);
  }
}

/// The work on one slot.
class SlotProduct {
 public:
  SlotProduct(const MultiplyRows& work, std::uint32_t slot)
      : work_(work), weights_(work.weights[slot]), rows_(rows_of(work, slot)), x_(work.in) {}

  void run() {
    panel_.resize(std::size_t{work_.in} * width);
    const std::uint32_t outputs = work_.finish == Finish::gated ? width / 2 : width;
    for (std::uint32_t first = 0; first < work_.out; first += outputs) {
      read_panel(first);
      for (std::uint32_t row = rows_.first; row < rows_.last; ++row)
        multiply(row, first, std::min(outputs, work_.out - first));
    }
  }

 private:
  using PanelRow = WeightRow<width / 2>;

  void read_panel(std::uint32_t first) {
    for (std::uint32_t j = 0; j < width; ++j) {
      const PanelRow row(work_, first, j);
      for (std::uint32_t k = 0; k < work_.in; ++k) {
        panel_[std::size_t{k} * width + j] =
            row.output < work_.out ? value_at(weights_, row.offset(work_) + k, work_.weight_dtype) : 0.0F;
      }
    }
  }

  void multiply(std::uint32_t row, std::uint32_t first, std::uint32_t count) {
    for (std::uint32_t k = 0; k < work_.in; ++k) x_[k] = value_at(work_.inputs.at(row), k, work_.input_dtype);
    float sums[width];
    sum_products(x_.data(), panel_.data(), work_.in, sums);
    for (std::uint32_t j = 0; j < count; ++j) {
      const float up = work_.finish == Finish::gated ? sums[width / 2 + j] : 0.0F;
      store_at(work_.outputs.at(row), first + j, work_.output_dtype, finished(work_, sums[j], up));
    }
  }

  const MultiplyRows& work_;
  const std::byte* weights_;
  SlotRows rows_;
  std::vector<float> x_;
  std::vector<float> panel_;  // [in, width]
};

void multiply_on_host(const MultiplyRows& work) {
  for (std::uint32_t slot = 0; slot < work.num_slots; ++slot) {
    const std::uint32_t count = rows_of(work, slot).count();
    if (count == 0) continue;
    SlotProduct(work, slot).run();
    if (work.computed != nullptr) work.computed[slot] += count;
  }
}

}  // namespace

const Kernel<MultiplyRows> multiply_rows{"multiply_rows", multiply_on_host,
                                         MOEWE_ON_GPU(launch_multiply_rows)};

}  // namespace moewe
