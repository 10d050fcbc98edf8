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

  /// About so many bytes of outputs for each rank's tokens are computed together, 0 for all of a round. A
  /// matter of speed alone, and for experts of a caller's own that do little work for a row: with tens of KiB
  /// their rows and outputs stay in the cache. Matmuls want many rows.
  std::size_t chunk_bytes = 0;

  /// Whether the shared expert, and experts whose rows have arrived, are computed while other rows travel.
  /// Else one thing is done after the other: shared expert, rows to experts, experts, outputs back. A matter
  /// of speed alone; where tokens go through the experts in chunks, these overlap all the same.
  bool overlap = true;
};

}  // namespace moewe
