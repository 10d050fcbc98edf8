#include "comm/clock_offsets.hpp"

#include <gtest/gtest.h>

#include "comm/loopback/run_ranks.hpp"

namespace moewe {
namespace {

using std::chrono::nanoseconds;

constexpr std::chrono::seconds patience{20};

/// What each rank has found when each node's clock shows that much more than the machine's.
std::vector<std::vector<ClockOffset>> measured_on(const std::vector<std::uint64_t>& nodes,
                                                  const std::vector<nanoseconds>& ahead) {
  std::vector<std::vector<ClockOffset>> offsets(nodes.size());
  run_ranks(Topology(nodes), patience, [&](Communicator& communicator) {
    const nanoseconds more = ahead[communicator.topology().node_of(communicator.rank())];
    offsets[index(communicator.rank())] =
        measure_clock_offsets(communicator, [&] { return steady_now() + more; });
  });
  return offsets;
}

TEST(ClockOffsets, BoundTheTrueOnesAndAreTheSameOnAllRanks) {
  const std::vector<nanoseconds> ahead{std::chrono::hours(3), std::chrono::hours(-50),
                                       std::chrono::milliseconds(7)};
  for (const auto& nodes :
       std::vector<std::vector<std::uint64_t>>{{0, 1}, {0, 1, 0, 1, 1}, {0, 1, 2}, {0, 1, 2, 1, 0}}) {
    const auto offsets = measured_on(nodes, ahead);
    const std::size_t num_nodes = Topology(nodes).num_nodes();
    for (const auto& of_rank : offsets) {
      ASSERT_EQ(of_rank.size(), num_nodes);
      for (std::size_t node = 0; node < num_nodes; ++node) {
        const nanoseconds off = of_rank[node].to_first + ahead[node] - ahead[0];
        EXPECT_LE(std::chrono::abs(off), of_rank[node].error) << "node " << node;
        EXPECT_EQ(of_rank[node].to_first, offsets[0][node].to_first);
        EXPECT_LT(of_rank[node].error, patience);
      }
      EXPECT_EQ(of_rank[0].error, nanoseconds(0));
    }
  }
}

TEST(ClockOffsets, NeedNothingOnOneNode) {
  run_ranks(3, patience, [](Communicator& communicator) {
    const auto offsets = measure_clock_offsets(communicator, []() -> nanoseconds {
      ADD_FAILURE() << "the clock was read";
      return {};
    });
    ASSERT_EQ(offsets.size(), 1U);
    EXPECT_EQ(offsets[0].to_first, nanoseconds(0));
  });
}

}  // namespace
}  // namespace moewe
