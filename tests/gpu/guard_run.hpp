#pragma once

#include <limits>

#include "runtime/kernels/step_guard.hpp"
#include "tests/gpu/device_work.hpp"
#include "tests/gpu/random_values.hpp"

namespace moewe::test {

/// A step of one rank as its guard sees it: what is wrong, if anything, and on which of the ranks.
struct GuardCase {
  std::uint32_t num_tokens = 9;
  std::uint32_t most_tokens = 16;
  std::uint32_t num_ranks = 3;
  std::int32_t bad_expert = 0;         ///< of token 5, in the place of its own; of experts there are 8
  float bad_weight = 1.0F;             ///< of token 7, the same
  std::uint32_t arrived = 40;          ///< at this rank, in all
  std::uint32_t computed = 40;         ///< the same
  std::uint32_t most_arrivals = 40;    ///< that it has room for
  std::uint32_t not_sent = 0;          ///< of its assignments
  std::uint32_t rank_elsewhere = 999;  ///< that is a step behind, or
  std::uint32_t other_bucket = 16;     ///< runs this one
};

struct GuardResult {
  StepState state;
  std::vector<StepWord> words;
  std::vector<StepRecord> records;
};

/// The kernels of a guard in their order, one rank's word told to all; the others say that all is well.
inline GuardResult run(const GuardCase& c, Device& device) {
  constexpr std::uint32_t top_k = 2, num_experts = 8, num_slots = 300, num_records = 4;
  const GraphName graph{3, c.most_tokens};
  DeviceWork work(device);
  Queue& queue = work.queue();
  auto* const state = work.put(std::vector{StepState{6, StepBound::none, 0, 0, 0, {0, 0}, 0, 0}});
  std::vector<ExpertId> experts(c.most_tokens * top_k, ExpertId{7});
  std::vector<float> weights(experts.size(), 0.5F);
  experts[5 * top_k + 1] = ExpertId{c.bad_expert};
  weights[7 * top_k] = c.bad_weight;
  queue.run(open_step, {state, work.put(std::vector{c.num_tokens}), c.most_tokens, top_k});
  queue.run(check_choices, {work.put(experts), work.put(weights), &state->bad_token,
                            DeviceCount(&state->num_assignments, c.most_tokens * top_k), top_k, num_experts});
  queue.run(admit_tokens, {state, StepBound::choices});

  std::vector<ArrivedPlan> plans(c.num_ranks, ArrivedPlan{1, c.arrived / c.num_ranks, 0, 0});
  plans[0].num_assignments += c.arrived % c.num_ranks;
  const ArrivedPlan* const on_device = work.put(plans);
  std::vector<ArrivedFrom> sources;
  for (std::uint32_t rank = 0; rank < c.num_ranks; ++rank)
    sources.push_back({on_device + rank, nullptr, nullptr, c.arrived});
  std::vector<std::uint32_t> computed(num_slots, 0);
  computed.front() = c.computed / 2;
  computed.back() = c.computed - c.computed / 2;
  const std::uint32_t num_sent = (c.num_tokens > c.most_tokens ? 0 : c.num_tokens) * top_k - c.not_sent;
  std::vector<std::uint32_t> first_assignment(c.num_ranks + 1, num_sent);
  std::vector<StepWord> others;
  for (std::uint32_t rank = 0; rank < c.num_ranks; ++rank)
    others.push_back({rank == c.rank_elsewhere ? 6U : 7U, {3, c.other_bucket}, StepBound::none, 0});
  StepWord* const words = work.put(others);
  std::vector<StepWord*> told{words + c.num_ranks / 2};
  told.resize(c.num_ranks, work.room<StepWord>(1));
  queue.run(tell_ranks, {state, work.put(sources), work.put(computed), work.put(first_assignment),
                         work.put(told), graph, c.num_ranks, num_slots, c.most_arrivals});
  auto* const records = work.put(std::vector<StepRecord>(num_records));
  queue.run(close_step, {state, words, records, graph, c.num_ranks, num_records});
  return {work.get(state, 1).front(), work.get(words, c.num_ranks), work.get(records, num_records)};
}

inline std::vector<GuardCase> guard_cases() {
  const float infinity = std::numeric_limits<float>::infinity();
  return {{},
          {.num_tokens = 0},
          {.num_tokens = 16, .num_ranks = 1},
          {.num_tokens = 17},
          {.num_tokens = 5, .bad_expert = 9},  // it is not among the tokens
          {.num_tokens = 6, .bad_expert = 8},
          {.bad_expert = -1, .bad_weight = infinity},
          {.bad_weight = infinity},
          {.arrived = 41, .computed = 40},
          {.arrived = 40, .computed = 38},
          {.not_sent = 1},
          {.rank_elsewhere = 2},
          {.other_bucket = 8},
          {.num_ranks = 300, .arrived = 1000, .computed = 1000, .most_arrivals = 999}};
}

}  // namespace moewe::test
