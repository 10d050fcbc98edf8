#pragma once

#include <cstddef>
#include <optional>

#include "runtime/dtype.hpp"
#include "runtime/overflow.hpp"
#include "runtime/return_table.hpp"

namespace moewe {

/// How a replicated expert's assignments are shared among its slots.
enum class SplitMode {
  exact,   ///< in every step so that the largest load of a rank is the least, for a small exchange of counts
  stored,  ///< for some steps in the proportions of an exact split before them, with no such exchange
};

constexpr const char* name_of(SplitMode mode) { return mode == SplitMode::exact ? "exact" : "stored"; }

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

  /// `stored` is for where a collective costs more than the most loaded rank is longer busy: loads of a step
  /// differ from those of the split's by chance, the more the fewer tokens there are. Dropless only. Not a matter of outputs, but with Combine::fast.
  SplitMode split = SplitMode::exact;

  /// Slots for experts on each rank beyond those that the layer's first placement takes: so many more experts
  /// a later placement may give to a rank.
  std::size_t spare_slots = 0;

  /// Slots on each rank that no placement takes: where experts arrive while the slots of those who leave are
  /// still in use. Without spare and staging slots no expert can migrate, and nothing is taken for it.
  std::size_t staging_slots = 0;

  bool can_migrate() const { return spare_slots + staging_slots > 0; }

  /// Whether the host has to know what experts are selected by, and not only which of them were.
  bool needs_selection() const { return capacity && capacity->policy == OverflowPolicy::next_choice; }
};

}  // namespace moewe
