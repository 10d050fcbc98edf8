#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <span>

#include "comm/message_transport.hpp"
#include "comm/staged/staged_message.hpp"
#include "comm/staged/staging_chunks.hpp"

namespace moewe {

/// The sending end of staged messages. Everything is non-blocking.
class StagedSender {
 public:
  /// One message. Kept until it is done, even if whoever posted it has let it go.
  struct Message {
    Rank to{};
    std::span<const std::byte> bytes;
    StagedHead head;
    Request head_sent;
    std::size_t granted = 0;  // bytes
    std::size_t sent = 0;     // bytes
    bool is_refused = false;
    bool is_done = false;
  };

  /// The host's transports, one for heads and one for grants and chunks.
  struct Carriers {
    MessageTransport& heads;
    MessageTransport& chunks;
  };

  StagedSender(StagingChunks& staging, const Carriers& carriers);

  std::shared_ptr<const Message> post(Rank to, Tag tag, std::span<const std::byte> bytes);

  /// Takes grants, copies what they are for, and sends what is copied.
  void progress();

  /// Before the transports end; their memory stays until after.
  void drop_requests();

 private:
  struct Piece {
    std::shared_ptr<Message> message;
    std::span<const std::byte> bytes;  ///< on the device
    StagingChunks::Chunk chunk{};
    Request sent{};
  };

  void post_grant();
  void take_grants();
  void accept(const StagedGrant& grant);
  void copy_granted();
  void send_copied();
  void release_sent();
  void finish_heads();
  void finish(Message& message);

  StagingChunks& staging_;
  Carriers carriers_;
  std::uint64_t num_posted_ = 0;
  std::map<std::uint64_t, std::shared_ptr<Message>> messages_;  // by number
  std::list<std::shared_ptr<Message>> heads_under_way_;
  StagedGrant grant_;
  Request next_grant_;
  std::deque<Piece> granted_;  // in the order of grants, as the two below
  std::deque<Piece> copying_;
  std::deque<Piece> sending_;
};

}  // namespace moewe
