#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "comm/backend.hpp"
#include "runtime/chunk_carrier.hpp"

namespace moewe::test {

/// What happens to one chunk of migrating weights.
enum class ChunkFault { none, flip_weights, flip_header, drop, twice, delay };

/// The chunk, and how. Counts the chunks that this rank sends, from 0; the fault happens once.
struct ChunkSpoiler {
  ChunkFault fault = ChunkFault::none;
  Rank sender{0};
  std::size_t number = 0;
  std::size_t num_sent = 0;  ///< by this rank so far
};

/// Sends copies, of which it spoils one. A delayed chunk is sent, and with it those that followed, once the
/// sender has looked after its messages often enough.
class SpoiltChunks : public MessageTransport {
 public:
  SpoiltChunks(Rank self, std::unique_ptr<MessageTransport> transport, ChunkSpoiler& spoiler)
      : self_(self), transport_(std::move(transport)), spoiler_(spoiler) {}

  Request post_send(Rank to, Tag tag, std::span<const std::byte> bytes) override {
    if (tag != ChunkCarrier::tag) return transport_->post_send(to, tag, bytes);
    const bool is_struck = spoiler_.num_sent++ == spoiler_.number && self_ == spoiler_.sender;
    sent_.emplace_back(bytes.begin(), bytes.end());
    if (is_struck) spoil(to, sent_.back());
    if (is_struck && spoiler_.fault == ChunkFault::drop) return {};
    if (num_looks_ < looks_to_wait_) {
      late_.push_back({to, sent_.back()});
      return {};
    }
    return transport_->post_send(to, tag, sent_.back());
  }
  Request post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) override {
    return transport_->post_recv(from, tag, bytes);
  }
  void progress() override {
    if (++num_looks_ >= looks_to_wait_) {
      for (const Late& late : std::exchange(late_, {})) extra_.push_back(send(late.to, late.bytes));
    }
    transport_->progress();
  }

 private:
  struct Late {
    Rank to;
    std::span<const std::byte> bytes;
  };

  Request send(Rank to, std::span<const std::byte> bytes) {
    return transport_->post_send(to, ChunkCarrier::tag, bytes);
  }

  void spoil(Rank to, std::vector<std::byte>& bytes) {
    constexpr std::size_t steps_late = 5;
    if (spoiler_.fault == ChunkFault::flip_weights) bytes.back() ^= std::byte{0x04};
    if (spoiler_.fault == ChunkFault::flip_header) bytes[offsetof(ChunkHeader, expert)] ^= std::byte{0x01};
    if (spoiler_.fault == ChunkFault::twice) extra_.push_back(send(to, bytes));
    if (spoiler_.fault == ChunkFault::delay) looks_to_wait_ = num_looks_ + steps_late;
  }

  Rank self_;
  std::list<std::vector<std::byte>> sent_;  // outlives the transport that sends from it
  std::unique_ptr<MessageTransport> transport_;
  ChunkSpoiler& spoiler_;
  std::vector<Request> extra_;
  std::vector<Late> late_;
  std::size_t num_looks_ = 0;
  std::size_t looks_to_wait_ = 0;
};

/// The same backend, with chunks that the spoiler, which outlives it, spoils.
inline Backend with_spoilt_chunks(const Backend& backend, ChunkSpoiler& spoiler) {
  Backend result = backend;
  result.make_transport = [make = backend.make_transport, &spoiler](Communicator& communicator) {
    return std::make_unique<SpoiltChunks>(communicator.rank(), make(communicator), spoiler);
  };
  return result;
}

}  // namespace moewe::test
