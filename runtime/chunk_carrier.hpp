#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "comm/backend.hpp"
#include "comm/buffer.hpp"
#include "runtime/path_choice.hpp"
#include "runtime/peer_chunks.hpp"

namespace moewe {

/// What stands before the bytes of a chunk. Travels as it is.
struct ChunkHeader {
  std::uint64_t serial;  ///< of the engine's migrations: what is left of an older one is told by it
  std::uint64_t epoch;   ///< towards which the layer migrates
  std::uint64_t layer;
  std::uint64_t expert;
  std::uint64_t offset;    ///< in the expert's weights, all of them one after the other
  std::uint64_t length;    ///< bytes that follow
  std::uint64_t checksum;  ///< of all of the expert's weights, as they were loaded
};

/// Carries chunks of experts' weights between ranks, beside the steps and apart from their messages: on a
/// communicator of its own, in memory of its own that is allocated once, and without ever waiting. One for
/// all layers of an engine. Since nothing is sent from or received into slots, a migration can be given up at
/// any time: what is still on its way lands here, and is told by its serial number.
///
/// Chunks are written into places of peer memory. A receiver that reaches it reads them there: of the copies
/// that a message takes inside a node, two are left, out of the sender's slot and into the receiver's. To
/// other ranks, and everywhere where there is no peer memory, a place is sent as a message.
class ChunkCarrier {
 public:
  static constexpr std::string_view meter_name = "migration chunks";

  /// Apart from everything else that travels, for whoever observes messages.
  static constexpr Tag tag{32000};

  /// A message as a whole: what MPI sends at once between nodes, as on the message path.
  static constexpr std::size_t message_bytes = std::size_t{56} << 10U;
  static constexpr std::size_t most_payload = message_bytes - sizeof(ChunkHeader);

  /// Chunks of each direction that can be under way.
  static constexpr std::size_t window = 32;

  /// What it takes, and counts under meter_name: a window in peer memory to send from, and one for messages
  /// to arrive in.
  static std::size_t memory_bytes(std::size_t num_ranks);

  /// Collective. The meter outlives the carrier. Throws a shared Error(out_of_memory).
  ChunkCarrier(Communicator& communicator, const Backend& backend, MemoryMeter& meter);
  ChunkCarrier(const ChunkCarrier&) = delete;
  ChunkCarrier& operator=(const ChunkCarrier&) = delete;

  /// Whether chunks to that rank can go through peer memory.
  bool reaches(Rank peer) const { return shared_ && shared_->reaches(peer); }

  /// Non-blocking. Where a chunk's bytes, at most most_payload, may be written before it is sent; empty where
  /// too many chunks are under way. Valid until the next call.
  std::span<std::byte> room_to_send();

  /// Non-blocking. Sends what was written into the room, header.length bytes, through peer memory where the
  /// rank is reached. All chunks of a migration from one rank to another by the same path.
  void send(Rank to, const ChunkHeader& header, PathRequest path = PathRequest::automatic);

  /// Non-blocking. Makes sure that so many messages can arrive, up to the window; more, where others may
  /// come. Peer memory needs no room here.
  void expect(std::size_t num_chunks);

  /// A chunk that has arrived. `bytes` go on to the end of what a message can hold, whatever the header says.
  struct Arrived {
    Rank from;
    ChunkHeader header;
    std::span<const std::byte> bytes;
  };

  /// Non-blocking: hands over what has arrived, in the order in which the chunks of one rank were sent, until
  /// `take` says no: then that chunk is handed over again next time.
  void take_arrived(const std::function<bool(const Arrived&)>& take);

  /// The right to migrate: one layer of the engine has it at a time, for as long as it keeps this.
  struct Turn {
    std::uint64_t serial;            ///< from 1, the same on all ranks
    std::function<void()> progress;  ///< called once in every step of the engine
  };

  /// All ranks take turns in the same order. Throws InvalidInput, as require_free does, while somebody has
  /// it.
  std::shared_ptr<const Turn> take_turn(std::function<void()> progress);
  void require_free() const;

  /// Once a step: lets the layer whose turn it is move on.
  void progress();

  /// A migration was given up, and chunks of it may still come, which nobody expects: from now on there is
  /// always room for them, so that their senders get theirs back.
  void expect_leftovers() { expects_leftovers_ = true; }

 private:
  /// Of a chunk that goes out.
  struct Outgoing {
    std::span<std::byte> bytes;
    Request request{};             // of a message
    std::optional<Rank> reader{};  // through peer memory
    std::uint64_t number = 0;      // over all chunks that were sent from here
    bool is_under_way = false;
  };
  struct Incoming {
    std::span<std::byte> bytes;
    Request request{};
  };

  void make_memory(PeerMemoryOffer offer, MemoryMeter& meter);
  bool is_free(Outgoing& place);

  std::unique_ptr<Communicator> communicator_;
  MemoryMeter shared_meter_;            // counts peer memory under meter_name
  std::unique_ptr<PeerChunks> shared_;  // null where there is no peer memory; outlives the transport, as
  Buffer memory_;                       // this does, which sends from it
  std::unique_ptr<MessageTransport> transport_;
  std::vector<Outgoing> outgoing_;  // a ring
  std::uint64_t num_sent_ = 0;
  bool has_room_ = false;           // that was given out for the next
  std::vector<Incoming> incoming_;  // a ring: messages arrive in the order of the receives
  std::size_t first_posted_ = 0;    // in the ring
  std::size_t num_posted_ = 0;
  bool expects_leftovers_ = false;
  std::uint64_t num_turns_ = 0;
  std::weak_ptr<const Turn> turn_;
};

}  // namespace moewe
