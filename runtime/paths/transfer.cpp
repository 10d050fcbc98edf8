#include "runtime/paths/transfer.hpp"

#include <algorithm>
#include <utility>

namespace moewe {
namespace {

/// Calls post(part) for parts of at most `most` bytes.
template <typename Bytes, typename Post>
void for_each_part(Bytes bytes, std::size_t most, Post&& post) {
  while (!bytes.empty()) {
    const std::size_t length = std::min(std::max<std::size_t>(1, most), bytes.size());
    post(bytes.first(length));
    bytes = bytes.subspan(length);
  }
}

}  // namespace

void Transfer::add(Request message) {
  (has_first_ ? others_.emplace_back() : first_) = std::move(message);
  has_first_ = true;
}

Transfer Transfer::send(MessageTransport& transport, Rank to, Tag tag, std::span<const std::byte> bytes,
                        std::size_t most) {
  Transfer transfer;
  for_each_part(bytes, most,
                [&](std::span<const std::byte> part) { transfer.add(transport.post_send(to, tag, part)); });
  return transfer;
}

Transfer Transfer::receive(MessageTransport& transport, Rank from, Tag tag, std::span<std::byte> bytes,
                           std::size_t most) {
  Transfer transfer;
  for_each_part(bytes, most,
                [&](std::span<std::byte> part) { transfer.add(transport.post_recv(from, tag, part)); });
  return transfer;
}

}  // namespace moewe
