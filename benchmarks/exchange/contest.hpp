#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.hpp"

namespace moewe::bench {

/// Seconds of one step.
struct RoundTrip {
  double whole = 0;
  double dispatch = 0;  ///< until rows are with their experts
  double combine = 0;   ///< from the experts' outputs to sums
};

/// One way to do a step, or what it is measured against. `run` is collective; it fills y, unless it has no
/// results.
struct RoundContestant {
  std::string name;
  std::function<RoundTrip(std::span<float> y)> run;
  bool has_results = true;
};

/// What is to come of every contestant that has results.
struct ContestCheck {
  std::size_t num_values = 0;  ///< of this rank's y
  std::function<std::size_t(std::span<const float> y)> count_wrong;
};

/// Times of one contestant: of each round the maximum over ranks.
struct ContestResult {
  std::string name;
  std::vector<double> whole;
  std::vector<double> dispatch;
  std::vector<double> combine;
  std::vector<double> chained;  ///< of a step among several in a row, behind that one; where these are wanted
  bool is_correct = true;       ///< before and after the timed rounds, on all ranks
};

/// How long a contest goes on.
struct ContestPace {
  std::size_t least_rounds = 20;
  std::size_t most_rounds = 20000;
  double seconds = 3;
  double chain_s = 0;  ///< steps in a row are timed, too, for about as long; 0: none are
};

/// Collective. Every contestant once in each round, in an order that changes from round to round, so that a
/// machine whose speed drifts drifts for all. Before a contestant's step caches hold what others have used;
/// in a row its steps find what they have used themselves, and nobody waits between them but as steps do.
/// Results are checked before the first round and after the last.
std::vector<ContestResult> run_contest(Communicator& communicator,
                                       std::span<const RoundContestant> contestants,
                                       const ContestCheck& check, const ContestPace& pace);

}  // namespace moewe::bench
