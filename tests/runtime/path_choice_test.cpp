#include "runtime/path_choice.hpp"

#include <gtest/gtest.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

const Topology two_nodes({1, 1, 2});

std::vector<PathKind> kinds(PathRequest request, const std::string& no_peer_memory) {
  std::vector<PathKind> kinds;
  for (const PathChoice& choice : choose_paths(two_nodes, Rank{0}, request, no_peer_memory))
    kinds.push_back(choice.kind);
  return kinds;
}

using Kinds = std::vector<PathKind>;

TEST(ChoosePaths, GoesDirectlyInsideANodeAndByMessageBetweenNodes) {
  EXPECT_EQ(kinds(PathRequest::automatic, ""), (Kinds{PathKind::local, PathKind::direct, PathKind::message}));
  EXPECT_EQ(kinds(PathRequest::automatic, "denied"),
            (Kinds{PathKind::local, PathKind::message, PathKind::message}));
  EXPECT_EQ(kinds(PathRequest::message, ""), (Kinds{PathKind::local, PathKind::message, PathKind::message}));
}

TEST(ChoosePaths, RefusesDirectWhereItCannotBe) {
  EXPECT_THROW(kinds(PathRequest::direct, ""), InvalidInput);
  EXPECT_THROW(choose_paths(Topology::one_node(2), Rank{0}, PathRequest::direct, "denied"), InvalidInput);
  EXPECT_NO_THROW(choose_paths(Topology::one_node(2), Rank{0}, PathRequest::direct, ""));
}

TEST(ChoosePaths, GoesTwoLevelBetweenNodesWhereAskedTo) {
  EXPECT_EQ(kinds(PathRequest::two_level, ""),
            (Kinds{PathKind::local, PathKind::direct, PathKind::two_level}));
  EXPECT_THROW(kinds(PathRequest::two_level, "denied"), InvalidInput);
  EXPECT_THROW(choose_paths(Topology::one_node(2), Rank{0}, PathRequest::two_level, ""), InvalidInput);
}

/// Slow links, and two ranks on each node: two-level pays.
const Topology two_by_two({1, 1, 2, 2});
const PathBasis slow_links{
    {32, 8, 8192, Combine::reproducible, 0}, {"mpi", LinkCost{0, 1 / 117e6}, {}}, LinkCost{0, 1 / 9.8e9}};

TEST(ChoosePaths, GoesTwoLevelBetweenNodesWhereThatIsQuickerWithTheFiguresAsReason) {
  const auto choices = choose_paths(two_by_two, Rank{0}, PathRequest::automatic, "", slow_links);
  EXPECT_EQ(choices[1].kind, PathKind::direct);
  for (const std::size_t there : {2U, 3U}) {
    EXPECT_EQ(choices[there].kind, PathKind::two_level);
    for (const char* part : {"117 MB/s between nodes", "9.8 GB/s inside", "crosses 1.0 instead of 1.9 times"})
      EXPECT_NE(choices[there].reason.find(part), std::string::npos) << choices[there].reason;
  }
}

TEST(ChoosePaths, GoesByMessageBetweenNodesWhereTwoLevelCannotPay) {
  PathBasis fast_links = slow_links;
  fast_links.messages.between_nodes->s_per_byte = 1e-12;
  EXPECT_EQ(choose_paths(two_by_two, Rank{0}, PathRequest::automatic, "", fast_links)[2].kind,
            PathKind::message);
  EXPECT_EQ(choose_paths(two_by_two, Rank{0}, PathRequest::automatic, "denied", slow_links)[2].kind,
            PathKind::message);
  EXPECT_EQ(choose_paths(Topology({0, 1}), Rank{0}, PathRequest::automatic, "", slow_links)[1].kind,
            PathKind::message);
}

TEST(ChoosePaths, DoesWhatIsAskedForWhateverIsQuicker) {
  for (const PathRequest request : {PathRequest::message, PathRequest::two_level}) {
    const auto without = choose_paths(two_by_two, Rank{1}, request, "");
    const auto with = choose_paths(two_by_two, Rank{1}, request, "", slow_links);
    for (std::size_t peer = 0; peer < 4; ++peer) EXPECT_EQ(with[peer].kind, without[peer].kind);
  }
  EXPECT_THROW(choose_paths(two_by_two, Rank{0}, PathRequest::direct, "", slow_links), InvalidInput);
}

TEST(ChoosePaths, IsTheSameFromBothSidesWithFigures) {
  const Topology uneven({0, 1, 1, 2, 0, 1, 3});
  for (std::size_t a = 0; a < uneven.num_ranks(); ++a) {
    for (std::size_t b = 0; b < uneven.num_ranks(); ++b) {
      const auto from_a = choose_paths(uneven, rank_at(a), PathRequest::automatic, "", slow_links);
      const auto from_b = choose_paths(uneven, rank_at(b), PathRequest::automatic, "", slow_links);
      EXPECT_EQ(from_a[b].kind, from_b[a].kind);
      if (from_a[b].kind != PathKind::two_level) continue;
      EXPECT_EQ(from_a[b].reason, from_b[a].reason);
    }
  }
}

TEST(ChoosePaths, IsTheSameFromBothSides) {
  for (const Rank a : {Rank{0}, Rank{1}, Rank{2}}) {
    for (const Rank b : {Rank{0}, Rank{1}, Rank{2}}) {
      const auto from_a = choose_paths(two_nodes, a, PathRequest::automatic, "");
      const auto from_b = choose_paths(two_nodes, b, PathRequest::automatic, "");
      EXPECT_EQ(from_a[index(b)].kind, from_b[index(a)].kind);
    }
  }
}

}  // namespace
}  // namespace moewe
