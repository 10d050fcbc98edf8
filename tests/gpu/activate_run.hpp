#pragma once

#include "runtime/kernels/activate_rows.hpp"
#include "tests/gpu/device_work.hpp"
#include "tests/gpu/random_values.hpp"

namespace moewe::test {

struct ActivateShape {
  std::uint32_t num_rows;
  std::uint32_t length;
  std::size_t shift;  ///< elements before sums and results
};

struct ActivateCase {
  ActivateCase(const ActivateShape& of, Activation function, bool gated, Dtype from, Dtype to)
      : shape(of), activation(function), is_gated(gated), sums_dtype(from), dtype(to) {
    Random random(shape.length);
    f32 = draw_floats(random, std::size_t{shape.num_rows} * (gated ? 2 : 1) * shape.length, 20.0F);
    for (float& value : f32) {
      if (sums_dtype == Dtype::f32) continue;
      bf16.push_back(round_to_bf16(value));
      value = widen(bf16.back());
    }
  }

  std::size_t num_results() const { return std::size_t{shape.num_rows} * shape.length; }

  ActivateShape shape;
  Activation activation;
  bool is_gated;
  Dtype sums_dtype;
  Dtype dtype;
  std::vector<float> f32;  ///< sums
  std::vector<Bf16> bf16;  ///< the same, in bf16
};

inline std::vector<std::byte> run(const ActivateCase& c, Device& device) {
  DeviceWork work(device);
  const std::size_t element = bytes_of(c.dtype);
  ActivateRows arguments{};
  arguments.sums = c.sums_dtype == Dtype::f32
                       ? reinterpret_cast<const std::byte*>(work.put(c.f32, c.shape.shift))
                       : reinterpret_cast<const std::byte*>(work.put(c.bf16, c.shape.shift));
  arguments.hidden = work.room<std::byte>(c.num_results() * element, c.shape.shift * element);
  arguments.num_rows = c.shape.num_rows;
  arguments.length = c.shape.length;
  arguments.is_gated = c.is_gated;
  arguments.activation = c.activation;
  arguments.sums_dtype = c.sums_dtype;
  arguments.dtype = c.dtype;
  work.queue().run(activate_rows, arguments);
  return work.get(arguments.hidden, c.num_results() * element);
}

inline std::vector<ActivateCase> activate_cases() {
  std::vector<ActivateCase> cases;
  for (const Activation activation : {Activation::silu, Activation::gelu, Activation::relu}) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      for (const bool is_gated : {false, true}) {
        cases.emplace_back(ActivateShape{0, 8, 0}, activation, is_gated, Dtype::f32, dtype);
        cases.emplace_back(ActivateShape{1, 4096, 0}, activation, is_gated, Dtype::f32, dtype);
        cases.emplace_back(ActivateShape{3, 2051, 1}, activation, is_gated, Dtype::f32, dtype);
        cases.emplace_back(ActivateShape{5, 72, 0}, activation, is_gated, dtype, dtype);
      }
    }
  }
  return cases;
}

}  // namespace moewe::test
