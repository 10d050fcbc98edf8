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
