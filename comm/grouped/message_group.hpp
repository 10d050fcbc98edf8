#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/message_transport.hpp"

namespace moewe {

struct GroupSend {
  Rank to;
  Tag tag;
  std::span<const std::byte> bytes;
};

struct GroupRecv {
  Rank from;
  Tag tag;
  std::span<std::byte> bytes;
};

/// What one rank tells another about the messages between the two in one of its groups.
struct GroupCard {
  struct Side {
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
    std::uint64_t digest = 0;  ///< of tags and lengths in their order

    bool operator==(const Side&) const = default;
  };

  std::uint64_t group = 0;
  Side to_peer{};
  Side from_peer{};
};

/// Messages that are started as one. Between two ranks messages meet by their order alone, so both ends put
/// them into the same one: by tag, and in the order of posting.
struct MessageGroup {
  std::uint64_t number = 0;
  std::vector<GroupSend> sends;
  std::vector<GroupRecv> recvs;

  bool is_empty() const { return sends.empty() && recvs.empty(); }

  /// By rank and tag; what has both equal keeps its order.
  void put_in_order();

  struct Announcement {
    Rank peer;
    GroupCard card;
  };

  /// One for every rank with which messages are exchanged, in order. The group is in order.
  std::vector<Announcement> announcements() const;
};

/// Throws Error(disagreement), with both sides' values, unless what each of the two ranks sends is what the
/// other receives, in groups of the same number.
void require_agreement(Rank self, const GroupCard& mine, Rank peer, const GroupCard& theirs);

}  // namespace moewe
