#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "comm/device_buffer.hpp"
#include "comm/device_peer_memory.hpp"
#include "runtime/device_messages.hpp"
#include "runtime/path_choice.hpp"

namespace moewe {

/// From `self` to every rank, in rank order, for layers on devices: local; direct, which is a push into peer
/// memory; or message. Local and pure. Throws InvalidInput for what cannot be, and where a path that is asked
/// for between two ranks is not the same back.
std::vector<PathChoice> choose_device_paths(const Topology& topology, Rank self,
                                            const ExchangeOptions& options);

/// How many of them are messages.
std::size_t num_by_message(std::span<const PathChoice> paths);

/// How rows and outputs of a step get from device to device. Kernels write to addresses: those of other
/// ranks' segments, or of memory of this rank that messages are sent from; what differs is known here alone.
///
/// A rank's segment:
///
///   | from itself: plan, rows | from a rank that pushes: plan, rows | ... | outputs |
///
/// (in rank order) with room for all tokens of any rank in each of the former, and in the last for an output
/// of each of this rank's own assignments, or, to be combined fast, a sum for each row, which the experts'
/// ranks write. So where all rows are pushed a step's sizes are known by the device alone until its results
/// are there. What comes as messages has memory of as much as comes (DeviceArrivals).
class DeviceExchange {
 public:
  /// Flags of the segment.
  enum Flag : std::size_t { rows_arrived, outputs_there, num_flags };

  /// Collective, also its destruction. `paths` are choose_device_paths', which `sizes` count messages of.
  /// Borrows engine and device. Throws a shared Error when devices do not address one another, when messages
  /// cannot be carried as the engine's options ask, or when a rank has no memory.
  DeviceExchange(Engine& engine, Device& device, const DeviceSizes& sizes, std::vector<PathChoice> paths);

  const std::vector<PathChoice>& paths() const { return paths_; }

  /// This rank's segment, and in it the outputs of its tokens.
  std::byte* segment() { return peers_ ? peers_->own() : alone_.data(); }
  const std::byte* outputs() { return segment() + regions_.outputs_at; }

  /// Null where no ranks of any node push to one another.
  DevicePeerMemory* peers() { return peers_.get(); }

  /// Null where all rows are pushed, on all ranks alike. Its calls are made by this exchange, but for
  /// announce() and finish().
  DeviceMessages* messages() { return messages_ ? &*messages_ : nullptr; }
  const DeviceMessages* messages() const { return messages_ ? &*messages_ : nullptr; }

  /// Once, before any step: tells kernels where things are. Enqueues without waiting. All of it outlives the
  /// exchange.
  void place(Queue& queue, const DeviceStepMemory& memory, const PinnedStepMemory& pinned);

  // In every step, in this order. Rows and plans, or outputs, are written by what the queue holds; what is
  // awaited is so on the host, with the waiter's deadline.
  void send_rows(std::uint64_t generation);
  void await_rows(std::uint64_t generation);
  void return_outputs(std::uint64_t generation);
  void await_outputs(std::uint64_t generation);

 private:
  void share_segments(Device& device, MemoryMeter& meter);
  void publish(Flag flag, std::uint64_t generation);
  void await(Flag flag, std::uint64_t generation) const;

  Communicator& communicator_;
  const ExchangeOptions& options_;
  DeviceSizes sizes_;
  DeviceRegions regions_;
  std::vector<PathChoice> paths_;
  std::unique_ptr<DevicePeerMemory> peers_;
  DeviceBuffer alone_;                      // the segment, where nobody pushes
  std::optional<DeviceMessages> messages_;  // ends before the segment
  Queue* queue_ = nullptr;
};

}  // namespace moewe
