#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/rank.hpp"
#include "comm/topology.hpp"
#include "placement/placement.hpp"
#include "placement/split.hpp"

namespace moewe {

/// A split that knows where assignments come from.
///
/// Its largest rank load is that of split_loads(). Among such splits it keeps assignments on their own rank
/// first and on their own node next: every rank starts with its own, nodes with theirs, and only what
/// overloads a rank moves away. (Greedily: that no other split keeps more at home is not promised.)
struct SourceSplit {
  Split split;
  std::vector<std::int64_t> quotas;  ///< [num_ranks][num_slots] assignments of a source that a slot serves

  /// Of one source's assignments, in the order of Split::shares.
  std::span<const std::int64_t> quotas_of(Rank source) const {
    return std::span(quotas).subspan(index(source) * split.shares.size(), split.shares.size());
  }

  /// How many of all assignments stay on their rank, and how many on their node (those included).
  std::int64_t on_own_rank = 0;
  std::int64_t on_own_node = 0;
};

/// `counts` [num_ranks][num_experts] are each source's assignments per expert, under the conditions of
/// Splitter::split. Within an expert, what is served neither at home nor on its node goes to slots in the
/// order of sources and slots, so that few pairs of ranks exchange it. Throws InvalidInput where `topology`
/// has another number of ranks than `placement`.
SourceSplit split_by_source(const Placement& placement, const Topology& topology,
                            std::span<const std::int64_t> counts);

}  // namespace moewe
