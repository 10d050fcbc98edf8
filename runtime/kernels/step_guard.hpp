#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "placement/expert_id.hpp"
#include "runtime/kernels/device_count.hpp"
#include "runtime/kernels/group_rows.hpp"
#include "runtime/step_state.hpp"

namespace moewe {

/// Begins a step: one more, of so many tokens.
struct OpenStep {
  StepState* state;
  const std::uint32_t* num_tokens;  ///< [1], the caller's
  std::uint32_t most_tokens;
  std::uint32_t top_k;
};

/// Finds the first token with an id that is not that of an expert, or a weight that is not finite.
struct CheckChoices {
  const ExpertId* experts;   ///< [num_assignments]
  const float* weights;      ///< [num_assignments]
  std::uint32_t* bad_token;  ///< becomes that token, where it is lower than what stands there
  DeviceCount num_assignments;
  std::uint32_t top_k;
  std::uint32_t num_experts;
};

/// Once tokens have been checked: a rank with a bad one takes part with none.
struct AdmitTokens {
  StepState* state;
  StepBound bound;  ///< that a bad token breaks
};

/// Once experts are computed: pushes to all ranks what this one has to say.
struct TellRanks {
  StepState* state;
  const ArrivedFrom* sources;             ///< [num_ranks]
  const std::uint32_t* computed;          ///< [num_slots]
  const std::uint32_t* first_assignment;  ///< [num_ranks + 1], of fill_plan
  StepWord* const* destinations;          ///< [num_ranks]
  GraphName graph;
  std::uint32_t num_ranks;
  std::uint32_t num_slots;
  std::uint32_t most_arrivals;
};

/// Once all ranks have told: whether outputs are written, and the record of that.
struct CloseStep {
  StepState* state;
  const StepWord* words;  ///< [num_ranks]
  StepRecord* records;    ///< [num_records], that of step s at s modulo num_records; the host may read them
  GraphName graph;
  std::uint32_t num_ranks;
  std::uint32_t num_records;
};

extern const Kernel<OpenStep> open_step;
extern const Kernel<CheckChoices> check_choices;
extern const Kernel<AdmitTokens> admit_tokens;
extern const Kernel<TellRanks> tell_ranks;
extern const Kernel<CloseStep> close_step;
int launch_open_step(const OpenStep& work, StreamHandle stream);
int launch_check_choices(const CheckChoices& work, StreamHandle stream);
int launch_admit_tokens(const AdmitTokens& work, StreamHandle stream);
int launch_tell_ranks(const TellRanks& work, StreamHandle stream);
int launch_close_step(const CloseStep& work, StreamHandle stream);

}  // namespace moewe
