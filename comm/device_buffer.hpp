#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "comm/device.hpp"
#include "comm/memory_meter.hpp"

namespace moewe {

/// Owns memory of a device, or pinned memory, that is counted under a name. 256-byte aligned, not
/// initialised. Move-only. Device and meter outlive it, and whatever is enqueued must be done with it when it
/// ends.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;

  /// Throws Error(out_of_memory) with name and size.
  DeviceBuffer(Device& device, MemoryMeter& meter, std::string_view name, std::size_t bytes,
               MemoryKind kind = MemoryKind::device);
  ~DeviceBuffer() { release(); }
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    swap(other);
    return *this;
  }

  /// To be dereferenced on the host only where it is pinned.
  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }
  MemoryKind kind() const { return kind_; }

  /// The address of its first T.
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }

 private:
  void swap(DeviceBuffer& other) noexcept;
  void release() noexcept;

  Device* device_ = nullptr;
  MemoryMeter* meter_ = nullptr;
  std::string name_;
  MemoryKind kind_ = MemoryKind::device;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Pinned chunks of one size, through which what cannot be copied at once is staged. All are there from the
/// start: nothing is allocated while steps run.
class PinnedPool {
 public:
  static constexpr std::string_view meter_name = "pinned chunks";

  /// Names one of the pool's chunks while it is taken.
  struct Chunk {
    std::byte* data;
    std::size_t number;
  };

  PinnedPool(Device& device, MemoryMeter& meter, std::size_t num_chunks, std::size_t chunk_bytes);

  std::size_t chunk_bytes() const { return chunk_bytes_; }
  std::size_t num_free() const { return free_.size(); }

  /// A chunk that nobody uses; with `data` null when there is none. Does not wait.
  Chunk take();

  /// Once everything enqueued is done with it.
  void give_back(const Chunk& chunk);

 private:
  std::size_t chunk_bytes_;
  DeviceBuffer memory_;
  std::vector<std::size_t> free_;
  std::vector<bool> is_taken_;
};

}  // namespace moewe
