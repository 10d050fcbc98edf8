#include "runtime/kernels/activate_rows.hpp"

#include "runtime/kernels/activated_element.hpp"

namespace moewe {
namespace {

template <Activation activation, typename Sum, typename Hidden>
void activate_as(const ActivateRows& work) {
  for (std::size_t row = 0; row < work.num_rows; ++row) {
    const SumsOfRow<Sum> sums(work, row);
    auto* const hidden = reinterpret_cast<Hidden*>(work.hidden) + row * work.length;
    for (std::size_t i = 0; i < work.length; ++i)
      hidden[i] = activated_element<activation, Hidden>(work, to_f32(sums.gate[i]), to_f32(sums.up[i]));
  }
}

template <Activation activation, typename Sum>
void activate_sums(const ActivateRows& work) {
  work.dtype == Dtype::f32 ? activate_as<activation, Sum, float>(work)
                           : activate_as<activation, Sum, Bf16>(work);
}

template <Activation activation>
void activate_with(const ActivateRows& work) {
  work.sums_dtype == Dtype::f32 ? activate_sums<activation, float>(work)
                                : activate_sums<activation, Bf16>(work);
}

void activate_on_host(const ActivateRows& work) {
  switch (work.activation) {
    case Activation::silu:
      return activate_with<Activation::silu>(work);
    case Activation::gelu:
      return activate_with<Activation::gelu>(work);
    case Activation::relu:
      return activate_with<Activation::relu>(work);
  }
}

}  // namespace

const Kernel<ActivateRows> activate_rows{"activate_rows", activate_on_host,
                                         MOEWE_ON_GPU(launch_activate_rows)};

}  // namespace moewe
