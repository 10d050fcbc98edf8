#pragma once

#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <span>

#include "comm/staged/staged_sender.hpp"

namespace moewe {

/// The receiving end of staged messages. Messages that have come share the chunks in turns, so that several
/// senders send at a time. Everything but give_up() is non-blocking.
class StagedReceiver {
 public:
  enum class State { awaited, arriving, done, too_long };

  /// One message.
  struct Message {
    std::span<std::byte> bytes;
    StagedHead head;
    Request head_arrived;
    Rank source{};
    State state = State::awaited;
    std::size_t granted = 0;  // bytes
    std::size_t copied = 0;   // bytes
    std::size_t num_copying = 0;
    bool is_given_up = false;
  };

  StagedReceiver(StagingChunks& staging, const StagedSender::Carriers& carriers)
      : staging_(staging), carriers_(carriers) {}

  std::shared_ptr<Message> post(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes);

  /// Takes heads, grants what there are chunks for, and copies what has arrived.
  void progress();

  /// Nothing is written into the message's bytes from now on: waits for copies that are under way.
  void give_up(Message& message, const Waiter& waiter);

  /// Before the transports end; their memory stays until after.
  void drop_requests();

 private:
  struct Piece {
    std::shared_ptr<Message> message;
    std::span<std::byte> bytes;  ///< on the device
    StagingChunks::Chunk chunk;
    Request arrived;
    bool is_copying = false;
  };

  struct SentGrant {
    StagedGrant grant;
    Request sent;
  };

  void take_heads();
  void begin(const std::shared_ptr<Message>& message);
  void grant_chunks();
  void grant_chunk(const std::shared_ptr<Message>& message, const StagingChunks::Chunk& chunk);
  void tell(const Message& message, bool is_refusal);
  void move_pieces();
  bool has_left(Piece& piece);

  StagingChunks& staging_;
  StagedSender::Carriers carriers_;
  std::list<std::shared_ptr<Message>> awaited_;
  std::deque<std::shared_ptr<Message>> wanting_;  // chunks, in turns
  std::list<Piece> pieces_;
  std::list<SentGrant> grants_;
};

}  // namespace moewe
