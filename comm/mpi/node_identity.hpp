#pragma once

#include <cstdint>

namespace moewe {

/// A number that two processes share if they run on the same node: host name and boot together, so that
/// neither equal names on two machines nor two hosts on one kernel are taken for one node.
std::uint64_t node_identity();

}  // namespace moewe
