#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/topology.hpp"
#include "placement/co_activation.hpp"
#include "placement/placement.hpp"
#include "placement/plan.hpp"

namespace moewe {

struct AffinityOptions {
  Millionths target = 1'020'000;          ///< largest over mean rank load that may be reached
  std::size_t most_exchanges = 4096;      ///< of experts
  std::vector<Millionths> slowness = {};  ///< as SlotSpace has it
};

/// `placement`, in its epoch, after exchanges of experts that have one slot each: between nodes, if there are
/// several, else between ranks, so that a token's experts lie on fewer of them. As long as one more token
/// finds two of its experts together, and the largest rank load after the exact split of `loads` is within
/// the target, or no larger than it was where it was above. Replicas stay where they are, and count as being
/// where the split has their load. Work is bounded: with many experts there are fewer exchanges.
///
/// What counts of the past tell of pairs need not hold for tokens to come: judge by others. The same answer
/// wherever it is computed. Throws InvalidInput as plan_placement does, and where the arguments are not of
/// the same ranks and experts.
Placement bring_together(const Placement& placement, const Topology& topology,
                         std::span<const std::int64_t> loads, const CoActivation& together,
                         const AffinityOptions& options = {});

}  // namespace moewe
