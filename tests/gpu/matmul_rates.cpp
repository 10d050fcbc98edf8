#include <vector>

#include "runtime/kernels/multiply_rows.hpp"
#include "tests/gpu/kernel_rates.hpp"

namespace moewe::test {
namespace {

constexpr std::uint32_t num_experts = 32;
constexpr std::uint32_t hidden = 7168;
constexpr std::uint32_t intermediate = 2048;
constexpr std::size_t matrix = std::size_t{hidden} * intermediate;
constexpr std::size_t weight_bytes = num_experts * 3 * matrix * sizeof(Bf16);

/// Both matmuls of the experts.
struct Experts {
  MultiplyRows in{};
  MultiplyRows out{};

  Experts(DeviceWork& work, std::uint32_t most_rows_of_expert) {
    const std::size_t num_rows = std::size_t{num_experts} * most_rows_of_expert;
    std::byte* const weights = filled(work, weight_bytes);
    std::byte* const rows = filled(work, num_rows * hidden * sizeof(Bf16));
    std::byte* const middle = filled(work, num_rows * intermediate * sizeof(Bf16));
    std::byte* const results = filled(work, num_rows * hidden * sizeof(Bf16));
    std::vector<const std::byte*> ins, outs;
    for (std::size_t e = 0; e < num_experts; ++e) {
      ins.push_back(weights + e * 3 * matrix * sizeof(Bf16));
      outs.push_back(ins.back() + 2 * matrix * sizeof(Bf16));
    }
    in.inputs = {nullptr, rows, hidden * sizeof(Bf16)};
    in.outputs = {nullptr, middle, intermediate * sizeof(Bf16)};
    in.weights = work.put(ins);
    in.num_slots = num_experts;
    in.in = hidden;
    in.out = intermediate;
    in.input_dtype = in.weight_dtype = in.output_dtype = Dtype::bf16;
    in.finish = Finish::gated;
    in.activation = Activation::silu;
    out = in;
    out.inputs = {nullptr, middle, intermediate * sizeof(Bf16)};
    out.outputs = {nullptr, results, hidden * sizeof(Bf16)};
    out.weights = work.put(outs);
    out.in = intermediate;
    out.out = hidden;
    out.finish = Finish::plain;
  }

  double seconds(DeviceWork& work, std::uint32_t rows_of_expert) {
    std::vector<std::uint32_t> first_row;
    for (std::uint32_t e = 0; e <= num_experts; ++e) first_row.push_back(e * rows_of_expert);
    in.first_row = out.first_row = work.put(first_row);
    in.max_rows = out.max_rows = first_row.back();
    return seconds_of(work, [&] {
      work.queue().run(multiply_rows, in);
      work.queue().run(multiply_rows, out);
    });
  }

 private:
  /// Small values, so that no sum becomes infinite, which takes less power.
  static std::byte* filled(DeviceWork& work, std::size_t bytes) {
    constexpr unsigned char byte = 0x3C;
    auto* const memory = work.room<std::byte>(bytes);
    work.queue().fill(memory, byte, bytes);
    return memory;
  }
};

}  // namespace

std::vector<Rate> measure_matmuls(Device& device, double copy) {
  const double dense = dense_rate(device);
  DeviceWork work(device);
  constexpr std::uint32_t many_rows = 512;
  Experts experts(work, many_rows);
  std::vector<Rate> rates{{"dense matmul of cuBLAS", dense, "TFLOP", dense > 0 ? 1.0 : 0.0, "itself"}};
  constexpr double flops_per_row = 2.0 * 3.0 * matrix;
  const double many = num_experts * many_rows * flops_per_row / experts.seconds(work, many_rows) * 1e-12;
  rates.push_back({"multiply_rows, 512 rows per expert", many, "TFLOP", dense > 0 ? many / dense : 0.0,
                   "the dense matmul"});
  for (const std::uint32_t few_rows : {4U, 32U}) {
    const double few = static_cast<double>(weight_bytes) / experts.seconds(work, few_rows) * 1e-9;
    rates.push_back({"multiply_rows, " + std::to_string(few_rows) + " rows per expert", few, "GB", few / copy,
                     "the copy, by weights read"});
  }
  return rates;
}

}  // namespace moewe::test
