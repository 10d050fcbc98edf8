#include "runtime/device_slot_pool.hpp"

namespace moewe {

DeviceSlotPool::DeviceSlotPool(Device& device, MemoryMeter& meter, std::string_view name,
                               std::size_t slot_bytes, std::size_t num_slots)
    : shelf_(std::make_shared<Shelf>()) {
  shelf_->memory = DeviceBuffer(device, meter, name, num_slots * slot_bytes);
  shelf_->free.reserve(num_slots);
  for (std::size_t slot = num_slots; slot > 0; --slot)
    shelf_->free.push_back(shelf_->memory.data() + (slot - 1) * slot_bytes);
}

DeviceExpertRoom DeviceSlotPool::take() {
  if (num_free() == 0) return nullptr;
  std::byte* const slot = shelf_->free.back();
  shelf_->free.pop_back();
  return {slot, [shelf = shelf_](std::byte* back) { shelf->free.push_back(back); }};
}

}  // namespace moewe
