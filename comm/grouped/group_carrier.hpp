#pragma once

#include "comm/grouped/message_group.hpp"
#include "comm/queue.hpp"

namespace moewe {

/// What carries whole groups of messages between devices, on a queue of its own. Both ends of every message
/// are in groups of the same number, and every rank starts its groups in the order of their numbers.
class GroupCarrier {
 public:
  virtual ~GroupCarrier() = default;

  /// Behind what the queue holds. Non-blocking; the next is started once this one is_started(). Throws
  /// Error(communication).
  virtual void start(const MessageGroup& group) = 0;

  /// Whether all of the last group is in the queue, so that an event can be recorded behind it. Throws
  /// Error(communication) once anything of this carrier has failed, also later and elsewhere.
  virtual bool is_started() = 0;

  virtual Queue& queue() = 0;

  /// Ends what has been started, in whatever state it is. Nothing else is called afterwards.
  virtual void abort() noexcept = 0;
};

}  // namespace moewe
