#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "comm/message_transport.hpp"

namespace moewe {

/// Bytes that travel between two ranks as messages of at most `most` bytes; none if there are none.
class Transfer {
 public:
  static Transfer send(MessageTransport& transport, Rank to, Tag tag, std::span<const std::byte> bytes,
                       std::size_t most);
  static Transfer receive(MessageTransport& transport, Rank from, Tag tag, std::span<std::byte> bytes,
                          std::size_t most);

  bool is_done() {
    return std::all_of(messages_.begin(), messages_.end(),
                       [](Request& message) { return message.is_done(); });
  }

 private:
  std::vector<Request> messages_;
};

}  // namespace moewe
