#include "comm/link_measurement.hpp"

#include <array>
#include <gtest/gtest.h>

#include "comm/loopback/run_ranks.hpp"

namespace moewe {
namespace {

constexpr std::chrono::seconds patience{20};

/// What each rank of these nodes has measured.
std::vector<LinkCosts> measured_on(const std::vector<std::uint64_t>& nodes, const Backend& backend) {
  std::vector<LinkCosts> costs(nodes.size());
  const std::array<Backend, 2> carriers{backend, backend};
  run_ranks(Topology(nodes), patience, [&](Communicator& communicator) {
    costs[index(communicator.rank())] = measure_links(communicator, carriers, {1U << 20U, 56U << 10U});
  });
  return costs;
}

void expect_cost(const std::optional<LinkCost>& cost, bool is_there) {
  ASSERT_EQ(cost.has_value(), is_there);
  if (!is_there) return;
  EXPECT_GT(cost->latency_s, 0);
  EXPECT_GT(cost->s_per_byte, 0);
}

TEST(MeasureLinks, FindsTheSameOnAllRanksAndNoLinksThatAreNotThere) {
  for (const auto& nodes : std::vector<std::vector<std::uint64_t>>{
           {0}, {0, 0}, {0, 1}, {0, 0, 1, 1}, {0, 1, 0, 1, 1}, {0, 0, 0, 1}}) {
    const std::vector<LinkCosts> costs = measured_on(nodes, loopback_backend());
    const Topology topology(nodes);
    const bool has_neighbours = topology.num_nodes() < topology.num_ranks();
    for (const LinkCosts& of_rank : costs) {
      EXPECT_EQ(of_rank, costs[0]);
      ASSERT_EQ(of_rank.carriers.size(), 2U);
      for (const CarrierCosts& carrier : of_rank.carriers) {
        EXPECT_EQ(carrier.carrier, "loopback");
        expect_cost(carrier.between_nodes, topology.num_nodes() > 1);
        expect_cost(carrier.inside_nodes, has_neighbours);
      }
      expect_cost(of_rank.memory, has_neighbours);
    }
  }
}

TEST(MeasureLinks, FindsNoMemoryWhereThereIsNone) {
  Backend backend = loopback_backend();
  backend.make_peer_memory = [](Communicator&, MemoryMeter&, std::size_t) {
    return PeerMemoryOffer{nullptr, "denied"};
  };
  for (const LinkCosts& of_rank : measured_on({0, 0, 1}, backend)) {
    EXPECT_FALSE(of_rank.memory);
    EXPECT_TRUE(of_rank.carriers[0].inside_nodes);
  }
}

}  // namespace
}  // namespace moewe
