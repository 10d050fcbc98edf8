#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "comm/device.hpp"
#include "comm/shm/segment.hpp"
#include "tests/gpu/second_process.hpp"

namespace moewe::test {

/// Throws after twenty seconds.
template <typename Ready>
void wait_until(Ready&& ready, const char* what) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!ready()) {
    if (std::chrono::steady_clock::now() > end) throw std::runtime_error(std::string("no end of ") + what);
    std::this_thread::yield();
  }
}

/// A page of flags that two processes and their devices see.
class ShownPage {
 public:
  explicit ShownPage(Device& device) : page_(create_memfd(), Segment::Access::write, bytes) {
    page_.grow(bytes);
    shown_ = device.show_host_memory(page_.data(), bytes);
  }
  ShownPage(Device& device, int process, int file)
      : page_(open_memfd_of(process, file, FileAccess::write), Segment::Access::write, bytes, bytes),
        shown_(device.show_host_memory(page_.data(), bytes)) {}

  int file() const { return page_.file(); }
  std::uint64_t* on_device(SharedFlag flag) { return at(shown_->device_address(), flag); }

  void set(SharedFlag flag) { std::atomic_ref(*at(page_.data(), flag)).store(1, std::memory_order_release); }
  bool is_set(SharedFlag flag) {
    return std::atomic_ref(*at(page_.data(), flag)).load(std::memory_order_acquire) == 1;
  }
  void wait_for(SharedFlag flag) {
    wait_until([&] { return is_set(flag); }, "a wait for the other process");
  }

 private:
  static constexpr std::size_t bytes = 4096;
  static constexpr std::size_t cache_line = 64;

  static std::uint64_t* at(std::byte* page, SharedFlag flag) {
    return reinterpret_cast<std::uint64_t*>(page + cache_line * static_cast<std::size_t>(flag));
  }

  Segment page_;
  std::unique_ptr<ShownMemory> shown_;
};

}  // namespace moewe::test
