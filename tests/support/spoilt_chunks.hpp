#pragma once

#include <cstddef>
#include <cstring>
#include <list>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "comm/backend.hpp"
#include "runtime/chunk_carrier.hpp"

namespace moewe::test {

/// What happens to one chunk of migrating weights. Only messages are dropped or come twice.
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

/// The same of chunks that are read where they lie: they can change there, or come to be seen late. A delayed
/// one is, and with it those that followed, once the sender has looked after its peers often enough.
class SpoiltPlaces : public PeerMemory {
 public:
  SpoiltPlaces(Rank self, std::unique_ptr<PeerMemory> memory, ChunkSpoiler& spoiler)
      : self_(self), memory_(std::move(memory)), spoiler_(spoiler) {}

  bool reaches(Rank peer) const override { return memory_->reaches(peer); }
  std::size_t num_flags() const override { return memory_->num_flags(); }
  std::byte* own() override { return memory_->own(); }
  void grow(std::size_t bytes) override { memory_->grow(bytes); }
  std::size_t bytes_for(std::size_t bytes) const override { return memory_->bytes_for(bytes); }
  const std::byte* of(Rank peer) const override { return memory_->of(peer); }

  void publish(std::size_t flag, std::uint64_t generation) override {
    constexpr std::uint64_t rank_mask = 0xFFFF;
    const bool is_place = flag < ChunkCarrier::window;
    const bool is_direct = is_place && (generation & rank_mask) != index(self_);
    if (is_direct && spoiler_.num_sent++ == spoiler_.number && self_ == spoiler_.sender)
      spoil(memory_->own() + flag * ChunkCarrier::message_bytes);
    if (is_place && looks_to_wait_ > 0)
      late_.push_back({flag, generation});
    else
      memory_->publish(flag, generation);
  }

  std::uint64_t published(Rank peer, std::size_t flag) const override {
    if (looks_to_wait_ > 0 && --looks_to_wait_ == 0) {
      for (const Late& late : std::exchange(late_, {})) memory_->publish(late.flag, late.generation);
    }
    return memory_->published(peer, flag);
  }

 private:
  struct Late {
    std::size_t flag;
    std::uint64_t generation;
  };

  void spoil(std::byte* chunk) {
    constexpr std::size_t looks_late = 60;  // several in every step, at every peer
    ChunkHeader header{};
    std::memcpy(&header, chunk, sizeof header);
    if (spoiler_.fault == ChunkFault::flip_weights)
      chunk[sizeof header + header.length - 1] ^= std::byte{0x04};
    if (spoiler_.fault == ChunkFault::flip_header) chunk[offsetof(ChunkHeader, expert)] ^= std::byte{0x01};
    if (spoiler_.fault == ChunkFault::delay) looks_to_wait_ = looks_late;
  }

  Rank self_;
  std::unique_ptr<PeerMemory> memory_;
  ChunkSpoiler& spoiler_;
  mutable std::vector<Late> late_;
  mutable std::size_t looks_to_wait_ = 0;
};

/// The same backend, with chunks that the spoiler, which outlives it, spoils.
inline Backend with_spoilt_chunks(const Backend& backend, ChunkSpoiler& spoiler) {
  Backend result = backend;
  result.make_peer_memory = [make = backend.make_peer_memory, &spoiler](
                                Communicator& communicator, MemoryMeter& meter, std::size_t num_flags) {
    PeerMemoryOffer offer = make(communicator, meter, num_flags);
    const std::size_t flags_of_chunks = PeerChunks::flags_needed(ChunkCarrier::window, communicator.size());
    if (offer.memory && num_flags == flags_of_chunks)
      offer.memory = std::make_unique<SpoiltPlaces>(communicator.rank(), std::move(offer.memory), spoiler);
    return offer;
  };
  result.make_transport = [make = backend.make_transport, &spoiler](Communicator& communicator) {
    return std::make_unique<SpoiltChunks>(communicator.rank(), make(communicator), spoiler);
  };
  return result;
}

}  // namespace moewe::test
