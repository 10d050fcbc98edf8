#include "runtime/kernels/activate_rows.hpp"

#include "runtime/kernels/activation_element.hpp"
#include "runtime/kernels/portable.hpp"

namespace moewe {
namespace {

template <Activation activation, typename Hidden>
void activate_as(const ActivateRows& work) {
  auto* const hidden = reinterpret_cast<Hidden*>(work.hidden);
  for (std::size_t i = 0; i < work.length; ++i) {
    const float value = work.gate == nullptr ? activated<activation>(work.up[i])
                                             : activated<activation>(work.gate[i]) * work.up[i];
    hidden[i] = from_f32<Hidden>(value);
  }
}

template <Activation activation>
void activate_with(const ActivateRows& work) {
  work.dtype == Dtype::f32 ? activate_as<activation, float>(work) : activate_as<activation, Bf16>(work);
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
