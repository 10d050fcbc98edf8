#pragma once

#include <cmath>
#include <vector>

#include "runtime/kernels/multiply_rows.hpp"
#include "tests/gpu/device_work.hpp"
#include "tests/gpu/random_values.hpp"

namespace moewe::test {

struct MultiplyShape {
  std::vector<std::uint32_t> rows;  ///< of each slot
  std::uint32_t in;
  std::uint32_t out;
  Dtype input_dtype;
  Dtype weight_dtype;
  Dtype output_dtype;
  Finish finish;
  Activation activation = Activation::silu;
  std::size_t shift = 0;  ///< bytes before rows and matrices
};

/// Values of either type, whose f32 are kept for comparison.
struct Values {
  Values(Random& random, std::size_t count, Dtype of, float largest)
      : dtype(of), f32(draw_floats(random, count, largest)) {
    for (float& value : f32) {
      if (dtype == Dtype::f32) continue;
      bf16.push_back(round_to_bf16(value));
      value = widen(bf16.back());
    }
  }

  /// `shift` bytes behind where a vector begins.
  std::byte* put(DeviceWork& work, std::size_t shift) const {
    const std::size_t bytes = f32.size() * bytes_of(dtype);
    std::vector<std::byte> shifted(shift + bytes);
    if (bytes > 0) {
      const void* const from = dtype == Dtype::f32 ? static_cast<const void*>(f32.data()) : bf16.data();
      std::memcpy(shifted.data() + shift, from, bytes);
    }
    return work.put(shifted) + shift;
  }

  Dtype dtype;
  std::vector<float> f32;
  std::vector<Bf16> bf16;
};

/// Rows lie in an order of their own, which tables of addresses tell; outputs one behind the other.
struct MultiplyCase {
  explicit MultiplyCase(MultiplyShape of, unsigned int seed = 1)
      : shape(std::move(of)),
        random(seed),
        first_row{0},
        matrix(std::size_t{shape.finish == Finish::gated ? 2U : 1U} * shape.in * shape.out),
        weights(random, shape.rows.size() * matrix, shape.weight_dtype, 1.0F) {
    for (const std::uint32_t rows : shape.rows) first_row.push_back(first_row.back() + rows);
    inputs.emplace_back(random, std::size_t{first_row.back()} * shape.in, shape.input_dtype, 1.0F);
  }

  std::size_t num_rows() const { return first_row.back(); }
  std::size_t place_of(std::size_t row) const { return num_rows() - 1 - row; }
  const float* input(std::size_t row) const { return inputs[0].f32.data() + place_of(row) * shape.in; }

  MultiplyShape shape;
  Random random;
  std::vector<std::uint32_t> first_row;
  std::size_t matrix;  ///< values of a slot
  Values weights;
  std::vector<Values> inputs;  // one
};

struct MultiplyResult {
  std::vector<std::byte> outputs;  ///< [rows, out]
  std::vector<std::uint32_t> computed;
  Dtype dtype;
  bool is_exact;  ///< else the device rounds sums in its own way

  float at(std::size_t i) const {
    if (dtype == Dtype::f32) return reinterpret_cast<const float*>(outputs.data())[i];
    return widen(reinterpret_cast<const Bf16*>(outputs.data())[i]);
  }
  std::size_t size() const { return outputs.size() / bytes_of(dtype); }
};

/// Of the rows from `first` to before `last` alone.
inline MultiplyResult run_rows(const MultiplyCase& c, Device& device, std::size_t first, std::size_t last) {
  const MultiplyShape& shape = c.shape;
  DeviceWork work(device);
  const std::size_t num_slots = shape.rows.size();
  const std::size_t output_bytes = shape.out * bytes_of(shape.output_dtype);
  std::byte* const x = c.inputs[0].put(work, shape.shift);
  std::byte* const matrices = c.weights.put(work, shape.shift);
  std::vector<const std::byte*> rows, weights;
  std::vector<std::uint32_t> first_row;
  for (std::size_t row = first; row < last; ++row)
    rows.push_back(x + c.place_of(row) * shape.in * bytes_of(shape.input_dtype));
  for (std::size_t slot = 0; slot < num_slots; ++slot)
    weights.push_back(matrices + slot * c.matrix * bytes_of(shape.weight_dtype));
  for (const std::uint32_t row : c.first_row)
    first_row.push_back(
        static_cast<std::uint32_t>(std::min(std::max<std::size_t>(row, first), last) - first));
  MultiplyRows arguments{};
  arguments.inputs.table = work.put(rows);
  arguments.outputs.first = work.room<std::byte>((last - first) * output_bytes + shape.shift) + shape.shift;
  arguments.outputs.row_bytes = output_bytes;
  arguments.weights = work.put(weights);
  arguments.first_row = work.put(first_row);
  arguments.computed = work.put(std::vector<std::uint32_t>(num_slots, 0));
  arguments.num_slots = static_cast<std::uint32_t>(num_slots);
  arguments.in = shape.in;
  arguments.out = shape.out;
  arguments.max_rows = static_cast<std::uint32_t>(last - first) + 3;
  arguments.input_dtype = shape.input_dtype;
  arguments.weight_dtype = shape.weight_dtype;
  arguments.output_dtype = shape.output_dtype;
  arguments.finish = shape.finish;
  arguments.activation = shape.activation;
  work.queue().run(multiply_rows, arguments);
  return {work.get(arguments.outputs.first, (last - first) * output_bytes),
          work.get(arguments.computed, num_slots), shape.output_dtype,
          device.is_emulated() || shape.weight_dtype == Dtype::f32};
}

inline MultiplyResult run(const MultiplyCase& c, Device& device) {
  return run_rows(c, device, 0, c.num_rows());
}

inline std::vector<MultiplyCase> multiply_cases() {
  const Dtype f32 = Dtype::f32, bf16 = Dtype::bf16;
  std::vector<MultiplyCase> cases;
  const auto add = [&](MultiplyShape shape) { cases.emplace_back(std::move(shape), cases.size() + 1); };
  add({{0, 3, 65, 0, 1}, 37, 70, f32, f32, f32, Finish::gated});
  add({{5}, 16, 5, bf16, f32, f32, Finish::plain});
  add({{2, 2}, 5, 67, f32, f32, f32, Finish::activated, Activation::gelu, 4});
  add({{1, 0, 33, 2}, 136, 40, bf16, bf16, bf16, Finish::gated});
  add({{130, 18}, 24, 68, bf16, bf16, f32, Finish::plain});
  add({{7, 35}, 21, 31, bf16, bf16, bf16, Finish::gated, Activation::gelu, 2});
  add({{3, 35}, 64, 9, bf16, bf16, f32, Finish::activated, Activation::relu});
  add({{3}, 520, 9, bf16, bf16, bf16, Finish::plain});  // more stages than are under way at a time
  add({{33}, 264, 8, bf16, bf16, f32, Finish::plain});
  add({{130, 5}, 24, 260, bf16, bf16, f32, Finish::plain});  // several tiles of either size each way
  add({{129}, 40, 130, bf16, bf16, bf16, Finish::gated});
  return cases;
}

/// How many of the cases have rows whose bits are others when they are computed alone.
inline std::size_t count_dependent_rows(Device& device) {
  std::size_t num_dependent = 0;
  for (const MultiplyCase& c : multiply_cases()) {
    const std::vector<std::byte> together = run(c, device).outputs;
    const std::size_t row_bytes = c.num_rows() == 0 ? 0 : together.size() / c.num_rows();
    bool is_dependent = false;
    for (std::size_t row = 0; row < c.num_rows(); row += 29) {
      const std::vector<std::byte> alone = run_rows(c, device, row, row + 1).outputs;
      is_dependent |= std::memcmp(alone.data(), together.data() + row * row_bytes, row_bytes) != 0;
    }
    if (is_dependent) ++num_dependent;
  }
  return num_dependent;
}

}  // namespace moewe::test
