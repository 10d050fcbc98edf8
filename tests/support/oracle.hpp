#pragma once

#include <span>
#include <vector>

#include "runtime/dtype.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/routing.hpp"
#include "runtime/weight_source.hpp"

namespace moewe::test {

/// A whole MoE layer on one rank, in the plainest loops and in double: y[t] = sum over k of w * expert(x[t]),
/// plus the shared expert. Dropped choices do not count. With bf16 the hidden activation of every expert and
/// the output row of each choice are rounded, once each, and nothing else is.
std::vector<double> plain_moe(const LayerSpec& spec, const WeightSource& source, const Routing& routing,
                              std::span<const float> x, Dtype dtype = Dtype::f32);

}  // namespace moewe::test
