#pragma once

#include "runtime/kernels/choose_slots.hpp"
#include "runtime/kernels/portable.hpp"

namespace moewe {

/// The slot of an expert's assignment that so many of its assignments come before.
MOEWE_PORTABLE inline std::uint32_t slot_of(const ChooseSlots& work, std::uint32_t expert,
                                            std::uint32_t order) {
  std::uint32_t slot = work.first_slot[expert];
  if (work.quotas == nullptr) return slot;
  const std::uint32_t last = work.first_slot[expert + 1] - 1;
  std::int64_t left = order;
  for (; slot < last && left >= work.quotas[slot]; ++slot) left -= work.quotas[slot];
  return slot;
}

}  // namespace moewe
