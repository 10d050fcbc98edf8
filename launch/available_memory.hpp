#pragma once

#include <cstddef>

namespace moewe {

/// Bytes that the processes of this node can still take without swapping, control groups considered; 0 where
/// the system does not tell.
std::size_t available_memory();

/// Bytes of this process's own memory that are in RAM: anonymous, and the shared-memory files that it maps.
std::size_t resident_memory();

}  // namespace moewe
