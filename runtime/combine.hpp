#pragma once

#include <cstddef>
#include <span>

#include "runtime/return_table.hpp"
#include "runtime/routing.hpp"

namespace moewe {

/// y[t] = sum over k of weight[t, k] * output(t, k), in f32 and in the order of k, so that the bits depend
/// neither on where an output was computed nor on when it came back. `y` is [num_tokens, hidden], row-major.
/// Local.
void combine(const Routing& routing, const ReturnTable& returned, std::span<float> y, std::size_t hidden);

}  // namespace moewe
