#include "comm/staged/staging_chunks.hpp"

#include <exception>
#include <fmt/format.h>

#include "comm/log.hpp"

namespace moewe {

StagingChunks::StagingChunks(Device& device, MemoryMeter& meter, const Waiter& waiter, std::size_t num_chunks,
                             std::size_t chunk_bytes)
    : waiter_(waiter.alone()), pool_(device, meter, num_chunks, chunk_bytes), queue_(device.make_queue()) {
  for (std::size_t i = 0; i < num_chunks; ++i) copied_.push_back(device.make_event());
}

StagingChunks::~StagingChunks() {
  try {
    waiter_.until([&] { return queue_->is_idle(); }, {"copies of staged messages"});
  } catch (const std::exception& error) {
    log(LogLevel::warning, fmt::format("staged messages end while they are copied: {}", error.what()));
  }
}

std::optional<StagingChunks::Chunk> StagingChunks::take() {
  const PinnedPool::Chunk chunk = pool_.take();
  if (chunk.data == nullptr) return std::nullopt;
  return Chunk{{chunk.data, pool_.chunk_bytes()}, chunk.number};
}

void StagingChunks::give_back(const Chunk& chunk) { pool_.give_back({chunk.bytes.data(), chunk.number}); }

void StagingChunks::copy_in(const Chunk& chunk, std::span<const std::byte> from) {
  queue_->copy(chunk.bytes.data(), from.data(), from.size());
  queue_->record(*copied_[chunk.number]);
}

void StagingChunks::copy_out(const Chunk& chunk, std::span<std::byte> to) {
  queue_->copy(to.data(), chunk.bytes.data(), to.size());
  queue_->record(*copied_[chunk.number]);
}

}  // namespace moewe
