#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "comm/buffer.hpp"
#include "runtime/meanwhile.hpp"

namespace moewe {

/// Where a rank's threads compute; shared by all layers of an engine, since only one computes at a time.
class Workspace {
 public:
  static constexpr std::string_view meter_name = "tiles";

  Workspace(MemoryMeter& meter, std::size_t num_threads)
      : num_threads_(num_threads), tiles_(meter, meter_name) {}

  std::size_t num_threads() const { return num_threads_; }

  /// What is called between the pieces of all that is computed here.
  void set_meanwhile(Meanwhile meanwhile) { meanwhile_ = std::move(meanwhile); }

  /// What this thread is to call there: nothing, but for thread 0, the rank's own.
  const Meanwhile& meanwhile_of(std::size_t thread) const { return thread == 0 ? meanwhile_ : nothing_; }

  /// Makes room for so many bytes per thread.
  void reserve(std::size_t bytes_per_thread) { tiles_.resize<std::byte>(num_threads_ * bytes_per_thread); }

  /// One thread's part; room has been made for as many bytes per thread or more.
  std::span<std::byte> of_thread(std::size_t thread, std::size_t bytes) {
    return tiles_.as<std::byte>((thread + 1) * bytes).subspan(thread * bytes);
  }

 private:
  std::size_t num_threads_;
  Meanwhile meanwhile_;
  Meanwhile nothing_;
  GrowingBuffer tiles_;
};

}  // namespace moewe
