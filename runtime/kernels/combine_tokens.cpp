#include "runtime/kernels/combine_tokens.hpp"

#include "runtime/kernels/portable.hpp"

namespace moewe {
namespace {

template <typename Value>
float combine_element(const CombineTokens& work, std::size_t token, std::size_t column) {
  float sum = 0.0F;
  for (std::size_t i = token * work.top_k; i < (token + 1) * work.top_k; ++i) {
    if (work.outputs[i] == nullptr) continue;
    const float weight = work.weights == nullptr ? 1.0F : work.weights[i];
    sum = add_product(sum, weight, to_f32(reinterpret_cast<const Value*>(work.outputs[i])[column]));
  }
  return sum;
}

template <typename Value>
void combine_as(const CombineTokens& work) {
  for (std::size_t token = 0; token < work.num_tokens.value(); ++token) {
    float* const y = work.y + token * work.hidden;
    const float* const addend = work.addend == nullptr ? nullptr : work.addend + token * work.hidden;
    for (std::size_t column = 0; column < work.hidden; ++column) {
      const float sum = combine_element<Value>(work, token, column);
      y[column] = addend == nullptr ? sum : add_product(sum, 1.0F, addend[column]);
    }
  }
}

void combine_on_host(const CombineTokens& work) {
  work.dtype == Dtype::f32 ? combine_as<float>(work) : combine_as<Bf16>(work);
}

}  // namespace

const Kernel<CombineTokens> combine_tokens{"combine_tokens", combine_on_host,
                                           MOEWE_ON_GPU(launch_combine_tokens)};

}  // namespace moewe
