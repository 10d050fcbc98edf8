#pragma once

#include <optional>

#include "runtime/dtype.hpp"
#include "runtime/overflow.hpp"
#include "runtime/return_table.hpp"

namespace moewe {

/// How a layer is run, as opposed to what it is. The same on every rank.
struct LayerOptions {
  Dtype dtype = Dtype::f32;
  Combine combine = Combine::reproducible;

  /// Dropless without.
  std::optional<CapacityOptions> capacity;
};

}  // namespace moewe
