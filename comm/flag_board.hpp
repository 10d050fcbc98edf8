#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <sys/types.h>

#include "comm/device.hpp"
#include "comm/shm/segment.hpp"

namespace moewe {

/// One rank's numbered flags, in host memory that the processes of its node map and their devices address, so
/// that hosts poll them at the price of a load:
///
///   | identity | flag 0 | flag 1 | ...        a cache line each, in whole pages
///
/// Flags begin at 0.
class FlagBoard {
 public:
  /// How a process of the node finds a board, and knows that it is the right one. Travels as it is.
  struct Address {
    pid_t process;
    int file;
    std::uint64_t identity;
  };

  /// The own one. `device` outlives it. Throws Error(communication) or Error(out_of_memory).
  FlagBoard(Device& device, std::size_t num_flags);

  /// That of another process, with as many flags. Throws Error(communication) when it cannot be found there.
  FlagBoard(Device& device, std::size_t num_flags, const Address& address);

  Address address() const;

  std::uint64_t* on_host(std::size_t flag) { return flag_of(segment_.data(), flag); }
  std::uint64_t* on_device(std::size_t flag) { return flag_of(shown_->device_address(), flag); }

  void set(std::size_t flag, std::uint64_t value);  ///< release
  std::uint64_t get(std::size_t flag);              ///< acquire

 private:
  static std::uint64_t* flag_of(std::byte* board, std::size_t flag);

  std::uint64_t identity_;
  Segment segment_;
  std::unique_ptr<ShownMemory> shown_;
};

}  // namespace moewe
