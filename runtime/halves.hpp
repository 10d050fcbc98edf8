#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "runtime/moe_layer.hpp"
#include "runtime/token_range.hpp"

namespace moewe {

/// The two halves of some tokens, in order; the second is longer by one where their number is odd.
constexpr std::array<TokenRange, 2> halves_of(std::size_t num_tokens) {
  return {{{0, num_tokens / 2}, {num_tokens / 2, num_tokens - num_tokens / 2}}};
}

/// What a step did that ran in two halves.
struct HalvesOutcome {
  std::array<Routing, 2> routings;  ///< of the halves' tokens; valid as MoeLayer::routing()
  StepReport report;                ///< both halves together
};

/// Collective and blocking: MoeLayer::forward, but in two half-batches, so that the rows of one travel while
/// the other is computed. The same bits. `routing` is null where the layer's router chooses. The engine needs
/// two lanes that are free. Throws as forward does, and a shared InvalidInput where the capacity is bounded,
/// since it is one of all tokens of a step.
HalvesOutcome forward_in_halves(MoeLayer& layer, TokenRows x, const Routing* routing, std::span<float> y);

}  // namespace moewe
