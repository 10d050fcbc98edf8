#pragma once

#include <cstddef>
#include <vector>

#include "launch/token_source.hpp"
#include "runtime/dtype.hpp"
#include "runtime/layer_spec.hpp"

namespace moewe {

/// Local. Rows of the first step of layer 0, as a layer with this specification takes them.
std::vector<std::byte> bench_rows(const TokenSource& source, TokenRange tokens, const LayerSpec& spec,
                                  Dtype dtype);

}  // namespace moewe
