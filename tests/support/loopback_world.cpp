#include <gtest/gtest.h>
#include <string>

#include "comm/loopback/run_ranks.hpp"
#include "tests/support/device_messages.hpp"
#include "tests/support/device_peers.hpp"
#include "tests/support/world.hpp"

namespace moewe::test {
namespace {

#ifdef MOEWE_SANITIZED  // which is slow, and finds in few ranks what it finds in many
constexpr std::size_t numbers_of_ranks[] = {1, 3};
#else
constexpr std::size_t numbers_of_ranks[] = {1, 3, 8};  // 2 and 4 as well as processes
#endif

}  // namespace

void on_every_rank(const std::function<void(Communicator&, const Backend&)>& work) {
  const Backend backend = with_chosen_messages(with_chosen_peers(loopback_backend()));
  for (const std::size_t num_ranks : numbers_of_ranks) {
    const ::testing::ScopedTrace trace(__FILE__, __LINE__, std::to_string(num_ranks) + " thread-ranks");
    run_ranks(num_ranks, patience, [&](Communicator& communicator) { work(communicator, backend); });
  }
}

bool on_both_halves(const std::function<void(Communicator&, const Backend&)>&) { return false; }

bool has_nodes() { return false; }

std::size_t node_of(Rank) { return 0; }

}  // namespace moewe::test
