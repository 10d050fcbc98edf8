#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "comm/error.hpp"
#include "comm/message_transport.hpp"

namespace moewe {

/// Bytes that travel between two ranks as messages of at most `most` bytes; none if there are none.
class Transfer {
 public:
  static Transfer send(MessageTransport& transport, Rank to, Tag tag, std::span<const std::byte> bytes,
                       std::size_t most);
  static Transfer receive(MessageTransport& transport, Rank from, Tag tag, std::span<std::byte> bytes,
                          std::size_t most);

  /// The same as is_done(); what it throws begins with `name()`.
  template <typename Name>
  bool is_done(Name&& name) {
    try {
      return is_done();
    } catch (const Error& error) {
      throw Error(error.kind(), name() + ": " + error.what());
    }
  }

  bool is_done() {
    if (!first_.is_done()) return false;
    while (num_done_ < others_.size() && others_[num_done_].is_done()) ++num_done_;
    return num_done_ == others_.size();
  }

 private:
  void add(Request message);

  Request first_;  // mostly the only one
  bool has_first_ = false;
  std::vector<Request> others_;
  std::size_t num_done_ = 0;  // of the others
};

}  // namespace moewe
