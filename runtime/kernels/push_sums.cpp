#include "runtime/kernels/push_sums.hpp"

#include "runtime/kernels/arrived_sum.hpp"

namespace moewe {
namespace {

template <typename Value>
float sum_element(const PushSums& work, const ArrivedRow& arrived, std::size_t column) {
  float sum = 0.0F;
  for (std::uint32_t i = arrived.first; is_for(arrived, i); ++i) {
    const std::byte* const output = output_of(work, arrived.source, i);
    if (output == nullptr) continue;
    const float weight = assignments_of(arrived.source.from)[i].weight;
    sum = add_product(sum, weight, to_f32(reinterpret_cast<const Value*>(output)[column]));
  }
  return sum;
}

template <typename Value>
void push_as(const PushSums& work) {
  ArrivedRow arrived{};
  for (std::uint32_t i = 0; i < work.max_rows; ++i) {
    if (!find_arrived_row(work.sources, work.num_sources, i, arrived)) return;
    auto* const to = reinterpret_cast<Value*>(sum_of(arrived, work.hidden * sizeof(Value)));
    for (std::size_t column = 0; column < work.hidden; ++column)
      to[column] = from_f32<Value>(sum_element<Value>(work, arrived, column));
  }
}

void push_on_host(const PushSums& work) {
  work.dtype == Dtype::f32 ? push_as<float>(work) : push_as<Bf16>(work);
}

}  // namespace

const Kernel<PushSums> push_sums{"push_sums", push_on_host, MOEWE_ON_GPU(launch_push_sums)};

}  // namespace moewe
