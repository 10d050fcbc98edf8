#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/kernels/device_count.hpp"

namespace moewe {

/// How much goes to each rank: assignments, and rows, of which a token sends one to a rank however many of
/// its assignments go there.
///
/// A GPU reads all assignments once for each rank.
struct CountDestinations {
  const std::uint32_t* slots;      ///< [num_tokens, top_k], of choose_slots
  const std::uint32_t* slot_rank;  ///< of every slot, its rank
  std::uint32_t* rows;             ///< [num_ranks]
  std::uint32_t* assignments;      ///< [num_ranks]
  DeviceCount num_tokens;
  std::uint32_t top_k;
  std::uint32_t num_ranks;
};

extern const Kernel<CountDestinations> count_destinations;
int launch_count_destinations(const CountDestinations& work, StreamHandle stream);

}  // namespace moewe
