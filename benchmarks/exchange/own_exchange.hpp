#pragma once

#include <cstddef>
#include <span>

#include "benchmarks/exchange/contest.hpp"
#include "benchmarks/exchange/exchange_case.hpp"
#include "runtime/engine.hpp"
#include "runtime/moe_layer.hpp"

namespace moewe::bench {

/// From what a step tells of itself.
RoundTrip round_trip_of(double whole, const StepReport& report);

/// The runtime's exchange: steps of a layer with the cheap expert. Tokens lie in a token buffer of the
/// engine's, as those of an engine that cares for speed would.
class OwnExchange {
 public:
  /// Collective. The case outlives this. Throws a shared Error where the path cannot be used.
  OwnExchange(Communicator& communicator, const Backend& backend, PathRequest path,
              const ExchangeCase& exchange);

  /// Collective and blocking: one step. `y` is [num_tokens, hidden].
  RoundTrip run(std::span<float> y);

 private:
  const ExchangeCase& case_;
  Engine engine_;
  MoeLayer layer_;
  std::span<std::byte> x_;
};

}  // namespace moewe::bench
