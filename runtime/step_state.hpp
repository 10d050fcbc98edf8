#pragma once

#include <cstdint>

namespace moewe {

/// What a recorded step must not go beyond, since what it was recorded with was made for that.
enum class StepBound : std::uint32_t {
  none,
  tokens,    ///< more than the graph was recorded for
  logits,    ///< of a token, not finite
  choices,   ///< of a token, a given id or weight that no layer can compute
  sequence,  ///< another rank has launched another graph, or another number of them
  arrivals,  ///< more assignments than a rank has room for
  ledger,    ///< assignments that were sent and not computed, or not sent
};

/// Which graph a rank launched; the same on every rank.
struct GraphName {
  std::uint32_t layer;
  std::uint32_t bucket;  ///< tokens that it was recorded for

  friend bool operator==(const GraphName&, const GraphName&) = default;
};

/// What a rank tells all ranks of its part in a step. Travels as it is.
struct StepWord {
  std::uint64_t step;
  GraphName graph;
  StepBound broken;
  std::uint32_t value;  ///< how many there were, or which token
};

/// A step on a rank, in device memory; the same place in all steps. Zeros before the first.
struct StepState {
  std::uint64_t step;             ///< steps begun so far
  StepBound broken;               ///< by this rank
  std::uint32_t value;            ///< as of StepWord
  std::uint32_t num_tokens;       ///< that it takes part with; 0 once a bound is broken
  std::uint32_t num_assignments;  ///< of these
  std::uint32_t row_range[2];     ///< {0, num_tokens}: as multiply_rows has the rows of a slot
  std::uint32_t num_written;      ///< tokens whose outputs are written: 0 where any rank broke a bound
  std::uint32_t bad_token;        ///< for check_logits and check_choices
};

/// What has become of a step, for the host.
struct StepRecord {
  std::uint64_t step;
  GraphName graph;
  GraphName other;  ///< where the sequence is broken, the graph that `rank` launched
  StepBound broken;
  std::uint32_t rank;  ///< the first that broke one
  std::uint32_t value;
  std::uint32_t num_tokens;  ///< of the rank itself, whose outputs were written
};

}  // namespace moewe
