#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "comm/device_buffer.hpp"

namespace moewe {

/// Checksums of one expert's weights on a device, one for each block of them, so that many are taken at a
/// time. They depend on the order of the blocks.
class DeviceWeightSums {
 public:
  static constexpr std::size_t block_bytes = std::size_t{64} << 10U;
  static constexpr std::string_view meter_name = "checksums of migrations";

  /// Bytes of the sums of so many bytes of weights.
  static constexpr std::size_t bytes_for(std::size_t weight_bytes) {
    return (weight_bytes + block_bytes - 1) / block_bytes * sizeof(std::uint64_t);
  }

  /// What construction takes, pinned memory too.
  static std::size_t memory_bytes(std::size_t weight_bytes);

  DeviceWeightSums(Device& device, MemoryMeter& meter, std::size_t weight_bytes);

  /// Non-blocking: the sums are there once the queue has passed it, and not before is another started.
  void start(Queue& queue, const std::byte* weights);

  /// On the device.
  std::span<const std::byte> sums() const { return {sums_.data(), sums_.size()}; }

 private:
  std::size_t weight_bytes_;
  std::size_t num_blocks_;
  DeviceBuffer host_;    // pinned: addresses of blocks, and their numbers
  DeviceBuffer blocks_;  // the same on the device
  DeviceBuffer sums_;
};

}  // namespace moewe
