#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/capacity.hpp"
#include "runtime/routing.hpp"

namespace moewe::test {

/// What experts with a capacity do with the assignments of a step.
struct OverflowRule {
  OverflowPolicy policy = OverflowPolicy::drop_last;
  std::size_t capacity = 0;
  bool renormalise = false;
};

/// What became of all tokens' assignments. The counts are per expert; assignments that chose an expert are
/// those that it kept, that were rerouted from it and that were dropped; it computes those that it kept and
/// that were rerouted to it.
struct OverflowOutcome {
  std::vector<ExpertId> experts;  ///< [num_tokens, top_k]; no_expert where dropped
  std::vector<float> weights;     ///< [num_tokens, top_k]; 0 where dropped

  std::vector<std::int64_t> kept;
  std::vector<std::int64_t> dropped;
  std::vector<std::int64_t> rerouted_from;
  std::vector<std::int64_t> rerouted_to;

  /// Assignments beyond the capacity, before anything was done about them; as long as num_experts.
  std::vector<std::int64_t> excess;

  /// With OverflowPolicy::error and an excess anywhere: the step fails, and nothing is changed.
  bool is_error = false;
};

/// In the plainest loops, for all tokens of all ranks in their order. An assignment is before another one
/// when its token is, or when it has the smaller k of one token. next_choice needs the routing's selection.
///
/// next_choice goes in rounds. In the first one all assignments bid for the expert that they chose, and
/// experts accept bids in order while they have room. In each further one, those that were not accepted bid,
/// token by token and k by k, for the expert with the largest selection value, of equal ones the lowest id,
/// that had room when the round began, can be selected, is not one of the k that the token chose, and that
/// none of the token's other assignments was given or bids for in this round. Who finds none is dropped. The
/// weight of a rerouted assignment is multiplied by the new expert's selection value over the old one's if
/// both are above 0.
///
/// With `renormalise`, where a token lost or rerouted an assignment, its weights are multiplied by the sum of
/// those that it had over the sum of those that it has, unless the latter is 0.
OverflowOutcome plain_overflow(const Routing& routing, std::size_t num_experts, const OverflowRule& rule);

/// A step that overflows, for tests.
struct OverflowCase {
  std::size_t num_tokens = 0;   ///< 0 to 400
  std::size_t num_experts = 1;  ///< 1 to 32
  std::size_t top_k = 1;        ///< 1 to min(num_experts, 8)
  std::size_t capacity = 1;     ///< 1 to a little more than the largest load
  std::vector<ExpertId> experts;
  std::vector<float> weights;
  std::vector<float> selection;

  /// The part of `count` tokens from `first` on, with the capacity of all.
  OverflowCase tokens(std::size_t first, std::size_t count) const;

  Routing view() const { return {num_tokens, top_k, experts, weights, selection}; }
};

/// Popular and unpopular experts, ties among weights and among selection values, values below, at and above
/// 0, and experts that cannot be selected. Each token chose the k experts with the largest selection values,
/// best first and lower ids first; so they are distinct.
OverflowCase random_overflow_case(std::uint64_t seed);

}  // namespace moewe::test
