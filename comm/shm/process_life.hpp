#pragma once

#include <cstdint>
#include <sys/types.h>

#include "comm/rank_status.hpp"

namespace moewe {

/// When a process of this machine began, in a unit of the kernel's: tells it from a later one of the same
/// number. 0 where there is none.
std::uint64_t start_of_process(pid_t process);

/// Whether a process that began then runs, is stopped, or is dead.
Vitality life_of_process(pid_t process, std::uint64_t start);

}  // namespace moewe
