#include "runtime/kernels/check_logits.hpp"

#include <algorithm>
#include <cmath>

#include "runtime/kernels/portable.hpp"

namespace moewe {
namespace {

void check_on_host(const CheckLogits& work) {
  for (std::size_t i = 0; i < std::size_t{work.num_tokens.value()} * work.num_experts; ++i) {
    if (std::isfinite(work.logits[i])) continue;
    work.logits[i] = 0.0F;
    *work.bad_token = std::min(*work.bad_token, static_cast<std::uint32_t>(i / work.num_experts));
  }
}

}  // namespace

const Kernel<CheckLogits> check_logits{"check_logits", check_on_host, MOEWE_ON_GPU(launch_check_logits)};

}  // namespace moewe
