#include "runtime/device_weight_sums.hpp"

#include <cstdint>

#include "runtime/kernels/checksum_rows.hpp"

namespace moewe {
namespace {

/// Of a block's address, and its number.
constexpr std::size_t entry_bytes = sizeof(const std::byte*) + sizeof(std::uint32_t);

}  // namespace

std::size_t DeviceWeightSums::memory_bytes(std::size_t weight_bytes) {
  const std::size_t num_blocks = bytes_for(weight_bytes) / sizeof(std::uint64_t);
  return 2 * num_blocks * entry_bytes + bytes_for(weight_bytes);
}

DeviceWeightSums::DeviceWeightSums(Device& device, MemoryMeter& meter, std::size_t weight_bytes)
    : weight_bytes_(weight_bytes),
      num_blocks_(bytes_for(weight_bytes) / sizeof(std::uint64_t)),
      host_(device, meter, meter_name, num_blocks_ * entry_bytes, MemoryKind::pinned),
      blocks_(device, meter, meter_name, num_blocks_ * entry_bytes),
      sums_(device, meter, meter_name, bytes_for(weight_bytes)) {}

void DeviceWeightSums::start(Queue& queue, const std::byte* weights) {
  const std::byte** const addresses = host_.as<const std::byte*>();
  auto* const numbers = reinterpret_cast<std::uint32_t*>(addresses + num_blocks_);
  for (std::size_t block = 0; block < num_blocks_; ++block) {
    addresses[block] = weights + block * block_bytes;
    numbers[block] = static_cast<std::uint32_t>(block);
  }
  queue.copy(blocks_.data(), host_.data(), host_.size());
  const auto* const rows = blocks_.as<const std::byte*>();
  const auto* const tokens = reinterpret_cast<const std::uint32_t*>(rows + num_blocks_);
  auto* const sums = sums_.as<std::uint64_t>();
  const std::size_t num_whole = weight_bytes_ / block_bytes;
  ChecksumRows work{rows, tokens, nullptr, sums, block_bytes, 0, 0, 0, static_cast<std::uint32_t>(num_whole)};
  if (num_whole > 0) queue.run(checksum_rows, work);
  if (num_whole == num_blocks_) return;
  work = {rows + num_whole,
          tokens + num_whole,
          nullptr,
          sums + num_whole,
          weight_bytes_ % block_bytes,
          0,
          0,
          0,
          1};
  queue.run(checksum_rows, work);
}

}  // namespace moewe
