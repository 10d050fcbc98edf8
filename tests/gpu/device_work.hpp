#pragma once

#include <chrono>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "comm/device.hpp"
#include "comm/device_buffer.hpp"
#include "runtime/kernels/device_count.hpp"

namespace moewe::test {

/// A queue of a device, and memory there for as long as it lives.
class DeviceWork {
 public:
  explicit DeviceWork(Device& device) : device_(device), queue_(device.make_queue()) {}
  ~DeviceWork() = default;  // what is asked for with get() has been done
  DeviceWork(const DeviceWork&) = delete;
  DeviceWork& operator=(const DeviceWork&) = delete;

  Queue& queue() { return *queue_; }

  /// A copy on the device. `shift` elements lie before it, so that it begins where no vector does.
  template <typename T>
  T* put(const std::vector<T>& values, std::size_t shift = 0) {
    T* const there = room<T>(values.size(), shift);
    queue_->copy(there, values.data(), values.size() * sizeof(T));
    wait();
    return there;
  }

  /// Room for results; every byte is 0xEE at first.
  template <typename T>
  T* room(std::size_t count, std::size_t shift = 0) {
    buffers_.emplace_back(device_, meter_, "test", (shift + count) * sizeof(T) + 1);
    queue_->fill(buffers_.back().data(), 0xEE, buffers_.back().size());
    return buffers_.back().template as<T>() + shift;
  }

  template <typename T>
  std::vector<T> get(const T* there, std::size_t count) {
    std::vector<T> values(count);
    wait();  // CUDA holds the caller up where it copies to memory that is not pinned, for however long
    queue_->copy(values.data(), there, count * sizeof(T));
    wait();
    return values;
  }

  /// Until all that was enqueued is done. Throws after a minute.
  void wait() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!queue_->is_idle()) {
      if (std::chrono::steady_clock::now() > end) throw std::runtime_error("the device does not come back");
      std::this_thread::yield();
    }
  }

 private:
  Device& device_;
  MemoryMeter meter_;
  std::unique_ptr<Queue> queue_;
  std::vector<DeviceBuffer> buffers_;
};

/// So many; where that is odd, the device alone knows, and the host a bound.
inline DeviceCount known_to_one(DeviceWork& work, std::uint32_t count) {
  return count % 2 == 0 ? count : DeviceCount(work.put(std::vector{count}), count + 6);
}

}  // namespace moewe::test
