#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "benchmarks/exchange/expected_sums.hpp"
#include "comm/communicator.hpp"

namespace moewe::bench {

/// Seconds of one round trip.
struct RoundTrip {
  double whole = 0;
  double dispatch = 0;  ///< until rows are with their experts
  double combine = 0;   ///< from the experts' outputs to sums
};

/// One way to do the exchange, or what it is measured against. `run` is collective; it fills y, unless it is
/// no exchange.
struct ExchangeContestant {
  std::string name;
  std::function<RoundTrip(std::span<float> y)> run;
  bool is_exchange = true;
};

/// Times of one contestant: of each round the maximum over ranks.
struct ContestResult {
  std::string name;
  std::vector<double> whole;
  std::vector<double> dispatch;
  std::vector<double> combine;
  bool is_correct = true;  ///< before and after the timed rounds, on all ranks
};

/// How long a contest goes on.
struct ContestPace {
  std::size_t least_rounds = 20;
  std::size_t most_rounds = 20000;
  double seconds = 3;
};

/// Collective. Every contestant once in each round, in an order that changes from round to round, so that a
/// machine whose speed drifts drifts for all. Results are compared with what is expected before the first
/// round and after the last.
std::vector<ContestResult> run_contest(Communicator& communicator,
                                       std::span<const ExchangeContestant> contestants,
                                       const ExchangeCase& exchange, const ContestPace& pace);

}  // namespace moewe::bench
