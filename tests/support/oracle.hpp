#pragma once

#include <span>
#include <vector>

#include "runtime/layer_spec.hpp"
#include "runtime/routing.hpp"
#include "runtime/weight_source.hpp"

namespace moewe::test {

/// A whole MoE layer on one rank, in the plainest loops and in double: y[t] = sum over k of w * expert(x[t]),
/// plus the shared expert. Dropped choices do not count.
std::vector<double> plain_moe(const LayerSpec& spec, const WeightSource& source, const Routing& routing,
                              std::span<const float> x);

}  // namespace moewe::test
