#include "comm/topology.hpp"

#include <gtest/gtest.h>

namespace moewe {
namespace {

TEST(Topology, GroupsRanksOfEqualLabels) {
  const Topology topology({90, 7, 90, 7, 7});
  EXPECT_EQ(topology.num_ranks(), 5U);
  EXPECT_EQ(topology.num_nodes(), 2U);
  EXPECT_TRUE(topology.share_node(Rank{1}, Rank{4}));
  EXPECT_FALSE(topology.share_node(Rank{0}, Rank{1}));
  const auto ranks = topology.node_ranks(Rank{3});
  EXPECT_EQ(std::vector<Rank>(ranks.begin(), ranks.end()), (std::vector<Rank>{Rank{1}, Rank{3}, Rank{4}}));
}

}  // namespace
}  // namespace moewe
