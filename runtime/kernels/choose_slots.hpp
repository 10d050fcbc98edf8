#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "placement/expert_id.hpp"
#include "runtime/kernels/device_count.hpp"

namespace moewe {

/// Stands for the slot of a choice that was dropped.
inline constexpr std::uint32_t no_slot = 0xFFFFFFFFU;

/// Deals a rank's assignments to the slots of their experts, as SlotChoice does: in the order of token and k,
/// an expert's first slot gets as many as it has a quota, then the second its, and so on. Slots are numbered
/// as Placement numbers them, expert by expert.
///
/// A GPU reads all assignments once for each expert.
struct ChooseSlots {
  const ExpertId* experts;          ///< [num_assignments]; no_expert for what was dropped
  const std::uint32_t* first_slot;  ///< [num_experts + 1]
  const std::int64_t* quotas;  ///< [first_slot[num_experts]], this rank's, enough; null if no expert has two
  std::uint32_t* slots;        ///< [num_assignments]
  DeviceCount num_assignments;
  std::uint32_t num_experts;
};

extern const Kernel<ChooseSlots> choose_slots;
int launch_choose_slots(const ChooseSlots& work, StreamHandle stream);

}  // namespace moewe
