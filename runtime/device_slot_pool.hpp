#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "comm/device_buffer.hpp"

namespace moewe {

/// The weights of an expert in a device's memory. Whoever makes one decides what becomes of the memory when
/// the last who shares it lets go.
using DeviceExpertWeights = std::shared_ptr<const std::byte>;
using DeviceExpertRoom = std::shared_ptr<std::byte>;

/// A rank's memory for the experts' weights of one layer on its device: so many slots, allocated once. A slot
/// comes back when the last who shares it lets it go; by then nothing that is enqueued uses it any more. Used
/// by one thread of a rank; slots may outlive the pool, but neither device nor meter.
class DeviceSlotPool {
 public:
  DeviceSlotPool() = default;

  /// Local. Throws Error(out_of_memory).
  DeviceSlotPool(Device& device, MemoryMeter& meter, std::string_view name, std::size_t slot_bytes,
                 std::size_t num_slots);

  /// Null where no slot is free.
  DeviceExpertRoom take();

  std::size_t num_free() const { return shelf_ ? shelf_->free.size() : 0; }

  /// All of its memory, which is there as long as somebody shares it, whoever has the slots.
  std::shared_ptr<const void> memory() const { return shelf_; }

 private:
  struct Shelf {
    DeviceBuffer memory;
    std::vector<std::byte*> free;
  };

  std::shared_ptr<Shelf> shelf_;
};

}  // namespace moewe
