#include "runtime/device_slot_tables.hpp"

#include <utility>

namespace moewe {
namespace {

template <typename Value>
void copy(Queue& queue, Value* to, const std::vector<Value>& from) {
  queue.copy(to, from.data(), from.size() * sizeof(Value));
}

}  // namespace

DeviceSlotTables::Layout::Layout(const Sizes& sizes, DeviceArena& arena)
    : in(arena.take<const std::byte*>(sizes.num_slots)),
      out(arena.take<const std::byte*>(sizes.num_slots)),
      first_slot(arena.take<std::uint32_t>(sizes.num_experts + 1)),
      slot_rank(arena.take<std::uint32_t>(sizes.slots_of_all)),
      slot_position(arena.take<std::uint32_t>(sizes.slots_of_all)) {}

std::size_t DeviceSlotTables::bytes(const Sizes& sizes) {
  DeviceArena arena;
  const Layout counted(sizes, arena);
  return arena.used();
}

DeviceSlotTables::DeviceSlotTables(Device& device, MemoryMeter& meter, std::string_view name,
                                   const Sizes& sizes)
    : memory_(device, meter, name, bytes(sizes)) {
  DeviceArena arena(memory_.data());
  layout_ = Layout(sizes, arena);
}

void DeviceSlotTables::put(Queue& queue, const Placement& placement, Matrices matrices) {
  matrices_ = std::move(matrices);
  first_slot_.clear();
  slot_rank_.clear();
  slot_position_.clear();
  for (std::size_t e = 0; e < placement.num_experts(); ++e) {
    first_slot_.push_back(static_cast<std::uint32_t>(slot_rank_.size()));
    for (const Slot& slot : placement.slots_of(expert_at(e))) {
      slot_rank_.push_back(static_cast<std::uint32_t>(number(slot.rank)));
      slot_position_.push_back(slot.position);
    }
  }
  first_slot_.push_back(static_cast<std::uint32_t>(slot_rank_.size()));
  copy(queue, layout_.in, matrices_.in);
  copy(queue, layout_.out, matrices_.out);
  copy(queue, layout_.first_slot, first_slot_);
  copy(queue, layout_.slot_rank, slot_rank_);
  copy(queue, layout_.slot_position, slot_position_);
}

}  // namespace moewe
