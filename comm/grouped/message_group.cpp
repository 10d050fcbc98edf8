#include "comm/grouped/message_group.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <tuple>
#include <xxhash.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

void add(GroupCard::Side& side, Tag tag, std::size_t length) {
  const std::uint64_t entry[] = {static_cast<std::uint64_t>(tag), length};
  ++side.messages;
  side.bytes += length;
  side.digest = XXH3_64bits_withSeed(entry, sizeof entry, side.digest);
}

std::string describe(const GroupCard::Side& side) {
  return fmt::format("{} messages of {} bytes", side.messages, side.bytes);
}

void require_same(Rank from, const GroupCard::Side& sent, Rank to, const GroupCard::Side& received) {
  if (sent == received) return;
  const bool is_inner = sent.messages == received.messages && sent.bytes == received.bytes;
  throw Error(ErrorKind::disagreement,
              fmt::format("in a group of messages rank {} sends {} to rank {}, which receives {}{}",
                          number(from), describe(sent), number(to), describe(received),
                          is_inner ? ", of other tags or lengths" : ""));
}

}  // namespace

void MessageGroup::put_in_order() {
  std::stable_sort(sends.begin(), sends.end(), [](const GroupSend& a, const GroupSend& b) {
    return std::tie(a.to, a.tag) < std::tie(b.to, b.tag);
  });
  std::stable_sort(recvs.begin(), recvs.end(), [](const GroupRecv& a, const GroupRecv& b) {
    return std::tie(a.from, a.tag) < std::tie(b.from, b.tag);
  });
}

std::vector<MessageGroup::Announcement> MessageGroup::announcements() const {
  std::map<Rank, GroupCard> cards;
  for (const GroupSend& send : sends) add(cards[send.to].to_peer, send.tag, send.bytes.size());
  for (const GroupRecv& recv : recvs) add(cards[recv.from].from_peer, recv.tag, recv.bytes.size());
  std::vector<Announcement> all;
  for (auto& [peer, card] : cards) {
    card.group = number;
    all.push_back({peer, card});
  }
  return all;
}

void require_agreement(Rank self, const GroupCard& mine, Rank peer, const GroupCard& theirs) {
  if (mine.group != theirs.group) {
    throw Error(
        ErrorKind::disagreement,
        fmt::format("rank {} exchanges messages with rank {} in its group {}, and that with it in its "
                    "group {}",
                    number(self), number(peer), mine.group, theirs.group));
  }
  require_same(self, mine.to_peer, peer, theirs.from_peer);
  require_same(peer, theirs.to_peer, self, mine.from_peer);
}

}  // namespace moewe
