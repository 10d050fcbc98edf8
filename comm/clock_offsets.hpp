#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include "comm/communicator.hpp"

namespace moewe {

/// How a node's steady clock stands to that of rank 0's node.
struct ClockOffset {
  std::chrono::nanoseconds to_first{0};  ///< to be added to a time of the node
  std::chrono::nanoseconds error{0};     ///< at most, either way, while it was measured
};

/// The steady clock, as time since it began. All processes of a node read the same one.
std::chrono::nanoseconds steady_now();

/// Collective and blocking: of each node in their order, the same on all ranks; with one node nothing is
/// measured. Clocks drift apart afterwards, by some 10 us in a second where nothing disciplines them.
///
/// A few times all ranks gather what everyone's clock showed before. What a rank sent was read before any
/// other rank had it, so each time bounds the offset from both sides:
///
///   sent by rank 0's node - had by the node  <=  offset  <=  had by rank 0's node - sent by the node.
///
/// The offset is the middle of the tightest bounds over all times and ranks, the error half their distance.
/// (So does the exchange of time stamps in the Network Time Protocol, RFC 5905, section 8, for two hosts.)
std::vector<ClockOffset> measure_clock_offsets(
    Communicator& communicator, const std::function<std::chrono::nanoseconds()>& read_clock = steady_now);

}  // namespace moewe
