#include "runtime/kernels/step_guard.hpp"

#include <algorithm>

#include "runtime/kernels/guarded_step.hpp"

namespace moewe {
namespace {

void check_on_host(const CheckChoices& work) {
  for (std::uint32_t i = 0; i < work.num_assignments.value(); ++i) {
    if (!is_usable(work, i)) *work.bad_token = std::min(*work.bad_token, i / work.top_k);
  }
}

void tell_on_host(const TellRanks& work) {
  std::uint32_t arrived = 0, computed = 0;
  for (std::uint32_t rank = 0; rank < work.num_ranks; ++rank)
    arrived += work.sources[rank].plan->num_assignments;
  for (std::uint32_t slot = 0; slot < work.num_slots; ++slot) computed += work.computed[slot];
  const StepWord word = word_of(work, arrived, computed);
  for (std::uint32_t rank = 0; rank < work.num_ranks; ++rank) *work.destinations[rank] = word;
}

}  // namespace

const Kernel<OpenStep> open_step{"open_step", open, MOEWE_ON_GPU(launch_open_step)};
const Kernel<CheckChoices> check_choices{"check_choices", check_on_host, MOEWE_ON_GPU(launch_check_choices)};
const Kernel<AdmitTokens> admit_tokens{"admit_tokens", admit, MOEWE_ON_GPU(launch_admit_tokens)};
const Kernel<TellRanks> tell_ranks{"tell_ranks", tell_on_host, MOEWE_ON_GPU(launch_tell_ranks)};
const Kernel<CloseStep> close_step{"close_step", close, MOEWE_ON_GPU(launch_close_step)};

}  // namespace moewe
