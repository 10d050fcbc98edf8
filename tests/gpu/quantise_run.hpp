#pragma once

#include "runtime/kernels/dequantise_rows.hpp"
#include "runtime/kernels/quantise_rows.hpp"
#include "tests/gpu/device_work.hpp"
#include "tests/gpu/random_values.hpp"

namespace moewe::test {

/// Rows whose blocks have scales of their own, some of zeros alone, and one of the smallest numbers.
struct QuantiseCase {
  QuantiseCase(std::size_t rows, std::size_t width, Dtype type, std::size_t before)
      : num_rows(rows), hidden(width), dtype(type), shift(before) {
    Random random(static_cast<unsigned int>(width));
    f32 = draw_floats(random, num_rows * hidden);
    for (std::size_t i = 0; i < f32.size(); ++i) f32[i] *= scale_of(i / scale_block % 5);
    for (const float value : f32) bf16.push_back(from_f32<Bf16>(value));
  }

  static float scale_of(std::size_t kind) {
    constexpr float scales[] = {1.0F, 0.0F, 3e4F, 1e-39F, 1e-3F};
    return scales[kind];
  }

  std::size_t num_rows;
  std::size_t hidden;
  Dtype dtype;
  std::size_t shift;  ///< elements before the rows
  std::vector<float> f32;
  std::vector<Bf16> bf16;
};

struct QuantiseResult {
  std::vector<E4m3> quantised;
  std::vector<float> scales;
  std::vector<std::byte> back;  ///< dequantised
};

inline QuantiseResult run(const QuantiseCase& c, Device& device) {
  DeviceWork work(device);
  const auto num_rows = static_cast<std::uint32_t>(c.num_rows);
  const auto hidden = static_cast<std::uint32_t>(c.hidden);
  const std::size_t count = c.f32.size();
  const std::size_t num_scales = c.num_rows * scales_of(hidden);
  const std::size_t bytes = count * bytes_of(c.dtype);
  const auto* const x = c.dtype == Dtype::f32 ? reinterpret_cast<const std::byte*>(work.put(c.f32, c.shift))
                                              : reinterpret_cast<const std::byte*>(work.put(c.bf16, c.shift));
  const QuantiseRows quantise{
      x, work.room<E4m3>(count, c.shift), work.room<float>(num_scales), num_rows, hidden, c.dtype};
  const DequantiseRows back{quantise.quantised, quantise.scales, work.room<std::byte>(bytes),
                            num_rows,           hidden,          c.dtype};
  work.queue().run(quantise_rows, quantise);
  work.queue().run(dequantise_rows, back);
  return {work.get(quantise.quantised, count), work.get(quantise.scales, num_scales),
          work.get(back.y, bytes)};
}

inline std::vector<QuantiseCase> quantise_cases() {
  std::vector<QuantiseCase> cases;
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    cases.emplace_back(0, 128, dtype, 0);
    cases.emplace_back(9, 1, dtype, 0);
    cases.emplace_back(7, 1024, dtype, 0);
    cases.emplace_back(5, 1003, dtype, 0);
    cases.emplace_back(3, 4224, dtype, 1);
  }
  return cases;
}

}  // namespace moewe::test
