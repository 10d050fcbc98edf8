#pragma once

#include <cstddef>
#include <span>

#include "comm/backend.hpp"
#include "comm/link_costs.hpp"

namespace moewe {

/// Longest messages, as those who are to send them cut them.
struct MessageLengths {
  std::size_t inside_nodes = std::size_t{1} << 20U;
  std::size_t between_nodes = std::size_t{56} << 10U;
};

/// Collective and blocking: measures what moving bytes costs now, in rings in which every rank sends and
/// receives at once. Each way takes some 50 ms, longer only over links slower than 100 Mbit/s. What counts is
/// the least disturbed of a few tries, in each the slowest rank.
///
/// `carriers` are the same on all ranks, at least one; messages are measured over each of them, peer memory
/// as the first one has it. Throws a shared Error where a carrier cannot be had.
LinkCosts measure_links(Communicator& communicator, std::span<const Backend> carriers,
                        const MessageLengths& lengths);

}  // namespace moewe
