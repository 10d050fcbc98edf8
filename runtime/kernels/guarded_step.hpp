#pragma once

#include <cmath>

#include "runtime/kernels/portable.hpp"
#include "runtime/kernels/step_guard.hpp"

// What the guard of a step decides, on hosts and GPUs.

namespace moewe {

inline constexpr std::uint32_t no_bad_token = 0xFFFFFFFFU;

/// From now on the rank takes part with so many tokens.
MOEWE_PORTABLE inline void take_part_with(StepState& state, std::uint32_t num_tokens, std::uint32_t top_k) {
  state.num_tokens = num_tokens;
  state.num_assignments = num_tokens * top_k;
  state.row_range[0] = 0;
  state.row_range[1] = num_tokens;
}

MOEWE_PORTABLE inline void open(const OpenStep& work) {
  StepState& state = *work.state;
  const std::uint32_t count = *work.num_tokens;
  const bool is_within = count <= work.most_tokens;
  ++state.step;
  state.broken = is_within ? StepBound::none : StepBound::tokens;
  state.value = count;
  state.num_written = 0;
  state.bad_token = no_bad_token;
  take_part_with(state, is_within ? count : 0, work.top_k);
}

/// A choice's.
MOEWE_PORTABLE inline bool is_usable(const CheckChoices& work, std::size_t i) {
  const auto expert = static_cast<std::int32_t>(work.experts[i]);
  return expert >= 0 && static_cast<std::uint32_t>(expert) < work.num_experts &&
         std::isfinite(work.weights[i]);
}

MOEWE_PORTABLE inline void admit(const AdmitTokens& work) {
  StepState& state = *work.state;
  if (state.bad_token >= state.num_tokens) return;
  state.broken = work.bound;
  state.value = state.bad_token;
  take_part_with(state, 0, 0);
}

/// What a rank tells, after so many assignments have arrived and been computed.
MOEWE_PORTABLE inline StepWord word_of(const TellRanks& work, std::uint32_t arrived, std::uint32_t computed) {
  const StepState& state = *work.state;
  StepWord word{state.step, work.graph, state.broken, state.value};
  if (word.broken != StepBound::none) return word;
  const std::uint32_t sent = work.first_assignment[work.num_ranks];
  word.value = 0;
  if (arrived > work.most_arrivals) {
    word.broken = StepBound::arrivals;
    word.value = arrived;
  } else if (arrived != computed || sent != state.num_assignments) {
    word.broken = StepBound::ledger;
    word.value = arrived != computed ? arrived - computed : state.num_assignments - sent;
  }
  return word;
}

MOEWE_PORTABLE inline void close(const CloseStep& work) {
  StepState& state = *work.state;
  StepRecord record{state.step, work.graph, work.graph, StepBound::none, 0, 0, 0};
  for (std::uint32_t rank = 0; rank < work.num_ranks && record.broken == StepBound::none; ++rank) {
    const StepWord word = work.words[rank];
    const bool is_alike = word.step == state.step && word.graph.layer == work.graph.layer &&
                          word.graph.bucket == work.graph.bucket;
    record.broken = is_alike ? word.broken : StepBound::sequence;
    record.other = word.graph;
    record.rank = rank;
    record.value = is_alike ? word.value : static_cast<std::uint32_t>(word.step);
  }
  state.num_written = record.broken == StepBound::none ? state.num_tokens : 0;
  record.num_tokens = state.num_written;
  work.records[state.step % work.num_records] = record;
}

}  // namespace moewe
