#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/topology.hpp"
#include "placement/placement.hpp"

namespace moewe {

/// What plans are made for, beside loads.
struct PlanTarget {
  const Topology& topology;
  const std::vector<Millionths>& slowness;  ///< of ranks, as Placement has it
  Millionths stop;                          ///< imbalance that is good enough
};

/// Plans for the next epoch, at least one: where ranks' slowness is another than `current` has, one that
/// brings nothing else; one with few arrivals; and where that does not get below `stop`, one from nothing.
/// All have the slowness. The same wherever it is computed.
std::vector<Placement> candidate_plans(const Placement& current, std::span<const std::int64_t> loads,
                                       const PlanTarget& target);

/// Experts that the rank to which most are brought has to wait for.
std::size_t most_arrivals(const Placement& from, const Placement& to);

}  // namespace moewe
