#pragma once

#include <list>
#include <map>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "comm/message_transport.hpp"
#include "tests/support/fault_injector.hpp"

namespace moewe::test {

/// Messages to one rank that are kept back, in order, until the sender has looked often enough whether any
/// message of its own is done.
class Delay {
 public:
  Delay(MessageTransport& transport, Rank to, StallBoard& board)
      : transport_(transport), to_(to), board_(board) {
    board_.hold();
  }
  ~Delay() {
    if (num_looks_ < most_looks) board_.let_go();
  }
  Delay(const Delay&) = delete;
  Delay& operator=(const Delay&) = delete;

  bool holds(Rank to) const { return to == to_ && num_looks_ < most_looks; }
  Request send(Tag tag, std::span<const std::byte> bytes);

  /// Time passes.
  void count();

 private:
  static constexpr int most_looks = 200;

  struct Late {
    Tag tag;
    std::span<const std::byte> bytes;
    std::optional<Request> posted;
  };
  class Pending;

  MessageTransport& transport_;
  Rank to_;
  StallBoard& board_;
  int num_looks_ = 0;
  std::vector<std::shared_ptr<Late>> late_;
};

/// Sends copies, of which the injector spoils one, and receives into bytes that have nothing to do with what
/// will come: what is missing of a message is missed, though another run has left the same bytes there.
class FaultyTransport : public MessageTransport {
 public:
  FaultyTransport(Rank self, std::unique_ptr<MessageTransport> transport, FaultInjector& injector)
      : self_(self), transport_(std::move(transport)), injector_(injector) {}

  Request post_send(Rank to, Tag tag, std::span<const std::byte> bytes) override;
  Request post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) override;
  void progress() override;

 private:
  using Bytes = std::vector<std::byte>;

  struct Held {
    Rank to;
    Tag tag;
    std::span<const std::byte> bytes;
  };
  class Counted;

  /// What is to be struck, where in its channel it begins, and what stale bytes are.
  struct Struck {
    Rank to;
    Tag tag;
    Bytes& bytes;
    std::size_t begin;
    const Bytes* old;
  };

  Request send(Rank to, Tag tag, std::span<const std::byte> bytes);
  Request spoil(const Struck& struck);
  void note_spoilt(std::size_t begin, std::size_t length);
  void release_held(const Place& place);

  /// Something else that was sent there earlier, of the same kind and length. Kinds are told by the tag's
  /// last bits, on all paths.
  const Bytes* older(Rank to, Tag tag, std::span<const std::byte> bytes) const;
  void remember(Rank to, Tag tag, std::span<const std::byte> bytes);

  Rank self_;
  std::list<Bytes> sent_;  // outlives the transport that sends from it
  std::map<std::tuple<Rank, int, std::size_t>, Bytes> first_;
  std::map<std::pair<Rank, Tag>, std::uint64_t> num_sent_;
  Bytes channel_;  // on which the strike is: what was to be sent
  std::vector<bool> is_spoilt_;
  bool has_struck_ = false;
  bool is_next_spoilt_ = false;
  bool is_rest_spoilt_ = false;
  std::unique_ptr<MessageTransport> transport_;
  std::vector<Request> extra_;
  std::optional<Held> held_;
  std::unique_ptr<Delay> delay_;
  FaultInjector& injector_;
};

}  // namespace moewe::test
