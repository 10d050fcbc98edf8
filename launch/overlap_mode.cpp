#include "launch/overlap_mode.hpp"

#include "benchmarks/harness.hpp"
#include "runtime/halves.hpp"

namespace moewe {

StepOutcome run_step(MoeLayer& layer, OverlapMode mode, TokenRows x, const Routing* routing,
                     std::span<float> y) {
  StepOutcome outcome;
  outcome.begun = std::chrono::steady_clock::now();
  if (mode == OverlapMode::half) {
    HalvesOutcome halves;
    outcome.seconds = bench::seconds_of([&] { halves = forward_in_halves(layer, x, routing, y); });
    outcome.report = std::move(halves.report);
    outcome.routings.assign(halves.routings.begin(), halves.routings.end());
    return outcome;
  }
  outcome.seconds = bench::seconds_of([&] {
    if (routing != nullptr) {
      layer.forward(x, *routing, y);
    } else {
      layer.forward(x, y);
    }
  });
  outcome.report = layer.report();
  outcome.routings = {layer.routing()};
  return outcome;
}

}  // namespace moewe
