#include <memory>
#include <vector>

#include "runtime/kernels/activate_rows.hpp"
#include "runtime/kernels/cublas/cublas_matmul.hpp"
#include "tests/gpu/groups_run.hpp"
#include "tests/gpu/kernel_rates.hpp"
#include "tests/gpu/same_on_both.hpp"

namespace moewe::test {
namespace {

constexpr std::uint32_t num_experts = 32;
constexpr std::uint32_t hidden = 7168;
constexpr std::uint32_t intermediate = 2048;
constexpr std::uint32_t rows_of_expert = 512;
constexpr std::uint32_t num_rows = num_experts * rows_of_expert;

/// What the experts' matmuls of a step are made of, on memory of small values.
class GroupedMlp {
 public:
  GroupedMlp(DeviceWork& work, GroupedMatmul* library)
      : work_(work),
        rows_(filled(std::size_t{num_rows} * hidden * sizeof(Bf16))),
        sums_(filled(std::size_t{num_rows} * 2 * intermediate * sizeof(float))),
        hidden_(filled(std::size_t{num_rows} * intermediate * sizeof(Bf16))),
        num_rows_(num_experts, rows_of_expert) {
    constexpr std::size_t matrix = std::size_t{hidden} * intermediate * sizeof(Bf16);
    std::byte* const weights = filled(num_experts * 3 * matrix);
    in_ = product(weights, rows_, sums_, hidden, 2 * intermediate, Dtype::f32);
    out_ = product(weights + num_experts * 2 * matrix, hidden_, rows_, intermediate, hidden, Dtype::bf16);
    in_.library = out_.library = library;
  }

  double seconds_of_in() {
    return seconds_of(work_, [&] { run_groups(work_.queue(), in_); });
  }
  double seconds_of_out() {
    return seconds_of(work_, [&] { run_groups(work_.queue(), out_); });
  }
  double seconds_of_all() {
    const ActivateRows activate{sums_, hidden_,          num_rows,   intermediate,
                                true,  Activation::silu, Dtype::f32, Dtype::bf16};
    return seconds_of(work_, [&] {
      run_groups(work_.queue(), in_);
      work_.queue().run(activate_rows, activate);
      run_groups(work_.queue(), out_);
    });
  }

 private:
  struct OnHost {
    std::vector<const std::byte*> weights, inputs;
    std::vector<std::byte*> outputs;
  };

  MultiplyGroups product(const std::byte* weights, const std::byte* inputs, std::byte* outputs,
                         std::uint32_t in, std::uint32_t out, Dtype output_dtype) {
    auto addresses = std::make_unique<OnHost>();
    for (std::size_t e = 0; e < num_experts; ++e) {
      addresses->weights.push_back(weights + e * in * out * sizeof(Bf16));
      addresses->inputs.push_back(inputs + e * rows_of_expert * in * sizeof(Bf16));
      addresses->outputs.push_back(outputs + e * rows_of_expert * out * bytes_of(output_dtype));
    }
    const OnHost& all = *addresses;
    kept_.push_back(std::move(addresses));
    return {nullptr,
            num_rows_.data(),
            {work_.put(all.weights), work_.put(all.inputs), work_.put(all.outputs)},
            {all.weights.data(), all.inputs.data(), all.outputs.data()},
            num_experts,
            in,
            out,
            Dtype::bf16,
            output_dtype};
  }

  std::byte* filled(std::size_t bytes) {
    constexpr unsigned char small = 0x3C;  // of which no sum becomes infinite
    auto* const memory = work_.room<std::byte>(bytes);
    work_.queue().fill(memory, small, bytes);
    return memory;
  }

  DeviceWork& work_;
  std::byte* rows_;
  std::byte* sums_;
  std::byte* hidden_;
  std::vector<std::uint32_t> num_rows_;
  std::vector<std::unique_ptr<OnHost>> kept_;
  MultiplyGroups in_{};
  MultiplyGroups out_{};
};

/// With the workspace that it has.
std::unique_ptr<GroupedMatmul> library_on(Device& device, DeviceWork& work) {
  return make_cublas_matmul(static_cast<int>(device.number()), work.room<std::byte>(cublas_workspace_bytes));
}

}  // namespace

std::vector<Rate> measure_groups(Device& device, double dense) {
  if (!reason_for_no_cublas().empty()) return {};
  DeviceWork work(device);
  const auto library = library_on(device, work);
  GroupedMlp mlp(work, library.get());
  const auto rate = [&](const char* name, double values_per_row, double seconds) {
    const double value = 2.0 * num_rows * values_per_row / seconds * 1e-12;
    return Rate{name, value, "TFLOP", dense > 0 ? value / dense : 0.0, "the dense matmul"};
  };
  constexpr double matrix = double{hidden} * intermediate;
  return {rate("cuBLAS, expert by expert into f32, 512 rows each", 2 * matrix, mlp.seconds_of_in()),
          rate("cuBLAS, grouped, 512 rows per expert", matrix, mlp.seconds_of_out()),
          rate("experts by cuBLAS, with their activations", 3 * matrix, mlp.seconds_of_all())};
}

std::vector<Comparison> compare_groups(Device& device, Device& twin) {
  if (!reason_for_no_cublas().empty()) return {};
  DeviceWork work(device);
  const auto library = library_on(device, work);
  Comparison comparison{"multiply_groups, by cuBLAS", groups_cases().size(), 0};
  for (const GroupsCase& c : groups_cases()) {
    if (!is_same(run(c, device, library.get()), run(c, twin))) ++comparison.num_different;
  }
  return {comparison};
}

}  // namespace moewe::test
