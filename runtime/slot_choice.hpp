#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/error.hpp"
#include "placement/placement.hpp"

namespace moewe {

/// Deals a rank's own assignments to the slots of their experts: of those that it is asked for, in that
/// order, an expert's first slot gets as many as it has a quota, then the second its, and so on.
class SlotChoice {
 public:
  /// Where nothing is replicated.
  SlotChoice() = default;

  /// `quotas` are this rank's, as Split::shares has slots; of every replicated expert they sum up to the
  /// assignments that will be asked for.
  explicit SlotChoice(std::span<const std::int64_t> quotas) : left_(quotas.begin(), quotas.end()) {}

  /// Of one more assignment. `placement` is that of the quotas.
  const Slot& next(const Placement& placement, ExpertId expert) {
    if (left_.empty()) return placement.slot_of(expert);
    const std::span<const Slot> slots = placement.slots_of(expert);
    if (slots.size() == 1) return slots.front();
    const std::span<std::int64_t> left = std::span(left_).subspan(placement.first_slot(expert), slots.size());
    std::size_t slot = 0;
    while (slot < slots.size() && left[slot] == 0) ++slot;
    expects(slot < slots.size(), "a replicated expert's quotas are as many as its assignments");
    --left[slot];
    return slots[slot];
  }

 private:
  std::vector<std::int64_t> left_;
};

}  // namespace moewe
