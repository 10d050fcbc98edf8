#pragma once

#include "runtime/kernels/activate_rows.hpp"
#include "tests/gpu/device_work.hpp"
#include "tests/gpu/random_values.hpp"

namespace moewe::test {

struct ActivateCase {
  ActivateCase(std::size_t length, Activation of, bool gated, Dtype to, std::size_t before)
      : activation(of), is_gated(gated), dtype(to), shift(before) {
    Random random(static_cast<unsigned int>(length));
    gate = draw_floats(random, length, 100.0F);
    up = draw_floats(random, length, 9.0F);
  }

  Activation activation;
  bool is_gated;
  Dtype dtype;
  std::size_t shift;  ///< elements before the results
  std::vector<float> gate;
  std::vector<float> up;
};

inline std::vector<std::byte> run(const ActivateCase& c, Device& device) {
  DeviceWork work(device);
  const std::size_t element = bytes_of(c.dtype);
  ActivateRows arguments{};
  arguments.gate = c.is_gated ? work.put(c.gate, c.shift) : nullptr;
  arguments.up = work.put(c.up);
  arguments.hidden = work.room<std::byte>(c.up.size() * element, c.shift * element);
  arguments.length = c.up.size();
  arguments.activation = c.activation;
  arguments.dtype = c.dtype;
  work.queue().run(activate_rows, arguments);
  return work.get(arguments.hidden, c.up.size() * element);
}

inline std::vector<ActivateCase> activate_cases() {
  std::vector<ActivateCase> cases;
  for (const Activation activation : {Activation::silu, Activation::gelu, Activation::relu}) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      for (const bool is_gated : {false, true}) {
        cases.emplace_back(0, activation, is_gated, dtype, 0);
        cases.emplace_back(4096, activation, is_gated, dtype, 0);
        cases.emplace_back(4101, activation, is_gated, dtype, 1);
      }
    }
  }
  return cases;
}

}  // namespace moewe::test
