#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "comm/rank.hpp"

namespace moewe {

/// Tells messages between the same two ranks apart. From 0 to max_tag.
enum class Tag : int {};
inline constexpr int max_tag = 32767;  // the least upper bound that MPI promises

/// A message that has been posted. Move-only. Destroying it before it is done cancels a receive and abandons
/// a send, whose bytes must then stay valid until the transport is destroyed. What is abandoned may arrive or
/// not; where it does not, nothing that was sent after it with its tag arrives in its place. A receive that
/// has begun to take its message may be waited for, up to the timeout, so that nothing is written any more.
class Request {
 public:
  /// What a transport keeps for one message.
  class Pending {
   public:
    virtual ~Pending() = default;
    /// Non-blocking; true from the moment the message is done. Where it is not, moves messages along.
    virtual bool test() = 0;
    /// Valid once done.
    virtual Rank source() const = 0;
  };

  Request() = default;
  explicit Request(std::unique_ptr<Pending> pending) : pending_(std::move(pending)) {}

  /// Non-blocking. Where it says no it has moved messages along as progress() does. A default-constructed
  /// request is done. Throws Error(communication) when the message failed, for instance because it is longer
  /// than the receiver's bytes.
  bool is_done() { return !pending_ || pending_->test(); }

  /// Who sent a received message. Only once is_done().
  Rank source() const { return pending_->source(); }

 private:
  std::unique_ptr<Pending> pending_;
};

/// Carries messages between the ranks of one communicator. Messages between two ranks with the same tag
/// arrive in the order in which they were sent. Used by one thread of a rank.
///
/// Creating and destroying one is collective.
class MessageTransport {
 public:
  virtual ~MessageTransport() = default;

  /// Non-blocking. `bytes` stay valid and unchanged until the request is done.
  virtual Request post_send(Rank to, Tag tag, std::span<const std::byte> bytes) = 0;

  /// Non-blocking. `from` empty: from any rank. `bytes` are at least as long as the message, stay valid until
  /// the request is done, and hold the message from then on.
  virtual Request post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) = 0;

  /// Non-blocking. Moves messages along on carriers that need the caller's core for it.
  virtual void progress() = 0;
};

}  // namespace moewe
