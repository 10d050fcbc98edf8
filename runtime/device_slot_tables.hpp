#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "comm/device_buffer.hpp"
#include "comm/queue.hpp"
#include "placement/placement.hpp"
#include "runtime/device_arena.hpp"

namespace moewe {

/// Where slots are under a placement, as kernels look it up: rank and position of each, and the matrices of
/// this rank's. In memory of the device that stays where it is, with room for any placement of a layer.
class DeviceSlotTables {
 public:
  struct Sizes {
    std::size_t num_experts = 0;
    std::size_t num_slots = 0;     ///< on this rank, at most
    std::size_t slots_of_all = 0;  ///< on all ranks, at most
  };

  DeviceSlotTables() = default;
  DeviceSlotTables(Device& device, MemoryMeter& meter, std::string_view name, const Sizes& sizes);
  static std::size_t bytes(const Sizes& sizes);

  /// The matrices of this rank's slots: gate and up, or up alone; and down.
  struct Matrices {
    std::vector<const std::byte*> in;
    std::vector<const std::byte*> out;
  };

  /// Enqueues it. The queue has passed it before the next, and before the tables end.
  void put(Queue& queue, const Placement& placement, Matrices matrices);

  // On the device.
  const std::byte* const* in() const { return layout_.in; }
  const std::byte* const* out() const { return layout_.out; }
  const std::uint32_t* first_slot() const { return layout_.first_slot; }
  const std::uint32_t* slot_rank() const { return layout_.slot_rank; }
  const std::uint32_t* slot_position() const { return layout_.slot_position; }

  /// On the host.
  const Matrices& matrices() const { return matrices_; }

 private:
  struct Layout {
    Layout() = default;
    Layout(const Sizes& sizes, DeviceArena& arena);

    const std::byte** in = nullptr;
    const std::byte** out = nullptr;
    std::uint32_t* first_slot = nullptr;
    std::uint32_t* slot_rank = nullptr;
    std::uint32_t* slot_position = nullptr;
  };

  DeviceBuffer memory_;
  Layout layout_;
  Matrices matrices_;
  std::vector<std::uint32_t> first_slot_;  // as on the device, as are the others
  std::vector<std::uint32_t> slot_rank_;
  std::vector<std::uint32_t> slot_position_;
};

}  // namespace moewe
