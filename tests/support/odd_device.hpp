#pragma once

#include <memory>

#include "comm/device.hpp"
#include "comm/error.hpp"

namespace moewe::test {

/// Another device that says of itself what a test wants.
class OddDevice : public Device {
 public:
  OddDevice(Device& real, bool is_emulated, bool addresses_others)
      : real_(real), is_emulated_(is_emulated), addresses_others_(addresses_others) {}

  std::size_t number() const override { return 17; }
  std::string description() const override { return "odd"; }
  std::size_t free_bytes() const override { return SIZE_MAX; }
  bool is_emulated() const override { return is_emulated_; }
  void make_current() override { ++num_made_current; }
  std::unique_ptr<Queue> make_queue() override { return real_.make_queue(); }
  std::unique_ptr<Event> make_event() override { return real_.make_event(); }
  std::byte* allocate(MemoryKind kind, std::size_t bytes) override { return real_.allocate(kind, bytes); }
  void free(MemoryKind kind, std::byte* memory) noexcept override { real_.free(kind, memory); }
  std::unique_ptr<SharedMemory> share(std::size_t bytes, std::size_t reserved) override {
    return real_.share(bytes, reserved);
  }
  std::unique_ptr<SharedMemory> open(const MemoryHandle& handle, std::size_t reserved) override {
    if (!addresses_others_) throw Error(ErrorKind::communication, "GPU 17 does not address it");
    return real_.open(handle, reserved);
  }
  bool let_address(std::size_t device) override { return addresses_others_ || device == number(); }
  std::unique_ptr<ShownMemory> show_host_memory(std::byte* memory, std::size_t bytes) override {
    return real_.show_host_memory(memory, bytes);
  }

  int num_made_current = 0;

 private:
  Device& real_;
  bool is_emulated_;
  bool addresses_others_;
};

}  // namespace moewe::test
