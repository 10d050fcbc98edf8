#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "comm/device_buffer.hpp"
#include "comm/waiter.hpp"

namespace moewe {

/// Pinned chunks of one direction, and the queue that copies between them and the device. A chunk is taken,
/// copied to or from once at a time, and given back.
class StagingChunks {
 public:
  struct Chunk {
    std::span<std::byte> bytes;  ///< pinned
    std::size_t number;
  };

  /// Device and meter outlive it; `waiter` bounds the wait at its end.
  StagingChunks(Device& device, MemoryMeter& meter, const Waiter& waiter, std::size_t num_chunks,
                std::size_t chunk_bytes);

  /// Waits for the copies that are under way.
  ~StagingChunks();
  StagingChunks(const StagingChunks&) = delete;
  StagingChunks& operator=(const StagingChunks&) = delete;

  std::size_t chunk_bytes() const { return pool_.chunk_bytes(); }

  /// Nothing while all are taken.
  std::optional<Chunk> take();
  void give_back(const Chunk& chunk);

  /// The first bytes of the chunk, from or to device memory.
  void copy_in(const Chunk& chunk, std::span<const std::byte> from);
  void copy_out(const Chunk& chunk, std::span<std::byte> to);

  /// Whether the chunk's last copy has been made.
  bool is_copied(const Chunk& chunk) const { return copied_[chunk.number]->is_done(); }

  /// What is copied from now on waits.
  void wait_for(const Event& event) { queue_->wait_for(event); }

 private:
  Waiter waiter_;
  PinnedPool pool_;
  std::vector<std::unique_ptr<Event>> copied_;  // by the chunk's number
  std::unique_ptr<Queue> queue_;
};

}  // namespace moewe
