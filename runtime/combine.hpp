#pragma once

#include <cstddef>
#include <span>

#include "runtime/return_table.hpp"
#include "runtime/routing.hpp"

namespace moewe {

/// y[t] = sum over k of weight[t, k] * output(t, k), in f32 and in the order of k, so that the bits depend
/// neither on where an output was computed nor on when it came back; assignments that were not sent out do
/// not count. `y` is [num_tokens, hidden], row-major. Local.
void combine(const Routing& routing, const ReturnTable& returned, std::span<float> y, std::size_t hidden,
             std::size_t num_threads);

}  // namespace moewe
