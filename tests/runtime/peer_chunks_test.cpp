#include "runtime/peer_chunks.hpp"

#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <gtest/gtest.h>
#include <random>

#include "comm/loopback/run_ranks.hpp"

namespace moewe {
namespace {

constexpr std::size_t num_places = 4;
constexpr std::size_t place_bytes = 16;

/// What a chunk says of itself.
struct Text {
  Rank from;
  Rank to;
  std::size_t number;  // of those from one to the other

  bool operator==(const Text&) const = default;
};
static_assert(sizeof(Text) == place_bytes);

/// One rank's end: sends as many as there is room for to whoever it likes, and takes what it likes.
class End {
 public:
  End(Communicator& communicator, const Backend& backend)
      : self_(communicator.rank()),
        num_ranks_(communicator.size()),
        chunks_(
            self_, communicator.topology(),
            backend.make_peer_memory(communicator, meter_, PeerChunks::flags_needed(num_places, num_ranks_))
                .memory,
            num_places, place_bytes),
        sent_(num_ranks_, 0),
        taken_(num_ranks_, 0),
        random_(static_cast<std::uint32_t>(number(self_))) {}

  PeerChunks& chunks() { return chunks_; }

  bool has_room() const {
    if (num_posted_ < num_places || receivers_.front() == self_) return true;
    return chunks_.is_taken(num_posted_ - num_places, receivers_.front());
  }

  /// To itself: to nobody.
  void send(Rank to) {
    if (receivers_.size() == num_places) receivers_.pop_front();
    const Text text{self_, to, sent_[index(to)]++};
    std::memcpy(chunks_.places().data() + num_posted_ % num_places * place_bytes, &text, sizeof text);
    chunks_.post(num_posted_++, to);
    receivers_.push_back(to);
  }

  void send_somewhere() {
    const Rank to = rank_at(random_() % num_ranks_);
    if (has_room() && (to == self_ || chunks_.reaches(to))) send(to);
  }

  /// Refuses now and then.
  void take_some() {
    chunks_.take([&](Rank from, std::span<const std::byte> place) {
      if (random_() % 4 == 0) return false;
      Text text{};
      std::memcpy(&text, place.data(), sizeof text);
      EXPECT_EQ(text, (Text{from, self_, taken_[index(from)]++}));
      return true;
    });
  }

  std::span<const std::size_t> sent() const { return sent_; }
  std::span<const std::size_t> taken() const { return taken_; }

 private:
  Rank self_;
  std::size_t num_ranks_;
  MemoryMeter meter_;
  PeerChunks chunks_;
  std::vector<std::size_t> sent_;   // by receiver
  std::vector<std::size_t> taken_;  // by sender
  std::uint64_t num_posted_ = 0;
  std::deque<Rank> receivers_;  // of the last ones
  std::mt19937 random_;
};

const Topology nodes({0, 1, 0, 0, 1});

void on_nodes(const std::function<void(Communicator&, const Backend&)>& work) {
  run_ranks(nodes, std::chrono::seconds(20),
            [&](Communicator& communicator) { work(communicator, loopback_backend()); });
}

/// What each rank has still to take from this one and the others, by receiver and sender.
std::vector<std::int64_t> missing(Communicator& communicator, const End& end) {
  const std::size_t num_ranks = communicator.size(), self = index(communicator.rank());
  std::vector<std::int64_t> sums(num_ranks * num_ranks, 0);
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    if (rank != self) sums[rank * num_ranks + self] += static_cast<std::int64_t>(end.sent()[rank]);
    sums[self * num_ranks + rank] -= static_cast<std::int64_t>(end.taken()[rank]);
  }
  communicator.all_reduce({.sums = sums, .minima = {}, .maxima = {}});
  return sums;
}

TEST(PeerChunks, ComeOnceAndInOrderToWhomTheyAreForWhoeverElseIsSentTo) {
  on_nodes([](Communicator& communicator, const Backend& backend) {
    End end(communicator, backend);
    for (int turn = 0; turn < 500; ++turn) {
      for (int i = 0; i < 10; ++i) {
        end.send_somewhere();
        end.take_some();
      }
      communicator.barrier();  // so that on few cores all get their turn
    }
    const std::vector<std::int64_t> none(nodes.num_ranks() * nodes.num_ranks(), 0);
    for (int i = 0; i < 1000 && missing(communicator, end) != none; ++i) end.take_some();
    EXPECT_EQ(missing(communicator, end), none);
    for (std::size_t rank = 0; rank < nodes.num_ranks(); ++rank) {
      const bool is_peer = rank_at(rank) != communicator.rank() && end.chunks().reaches(rank_at(rank));
      EXPECT_EQ(end.taken()[rank] > num_places, is_peer) << "from rank " << rank;
    }
  });
}

TEST(PeerChunks, ReachTheRanksOfTheNodeAndNotTheRankItself) {
  on_nodes([](Communicator& communicator, const Backend& backend) {
    End end(communicator, backend);
    const Rank self = communicator.rank();
    for (std::size_t rank = 0; rank < nodes.num_ranks(); ++rank) {
      const bool is_peer = rank_at(rank) != self && nodes.share_node(self, rank_at(rank));
      EXPECT_EQ(end.chunks().reaches(rank_at(rank)), is_peer);
    }
    communicator.barrier();
  });
}

/// Also of one that is not for the next receiver, so that nobody reads what is being written.
TEST(PeerChunks, APlaceIsKeptUntilItsReaderIsDoneWithIt) {
  on_nodes([](Communicator& communicator, const Backend& backend) {
    End end(communicator, backend);
    const bool is_sender = communicator.rank() == Rank{0};
    if (is_sender) end.send(Rank{2});
    for (std::size_t i = 1; is_sender && i < num_places; ++i) end.send(Rank{3});
    EXPECT_EQ(end.has_room(), !is_sender);
    communicator.barrier();
    if (communicator.rank() == Rank{3}) {
      for (int i = 0; i < 1000; ++i) end.take_some();
      EXPECT_EQ(end.taken()[0], num_places - 1);
    }
    communicator.barrier();
    EXPECT_EQ(end.has_room(), !is_sender);
    communicator.barrier();
    if (communicator.rank() == Rank{2}) {
      for (int i = 0; i < 1000; ++i) end.take_some();
      EXPECT_EQ(end.taken()[0], 1U);
    }
    communicator.barrier();
    EXPECT_TRUE(end.has_room());
    communicator.barrier();
  });
}

}  // namespace
}  // namespace moewe
