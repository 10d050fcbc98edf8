#include <gtest/gtest.h>
#include <string>

#include "comm/loopback/run_ranks.hpp"
#include "tests/support/world.hpp"

namespace moewe::test {

void on_every_rank(const std::function<void(Communicator&, const Backend&)>& work) {
  for (const std::size_t num_ranks : {1U, 2U, 3U, 4U, 8U}) {
    const ::testing::ScopedTrace trace(__FILE__, __LINE__, std::to_string(num_ranks) + " thread-ranks");
    run_ranks(num_ranks, patience,
              [&](Communicator& communicator) { work(communicator, loopback_backend()); });
  }
}

bool on_both_halves(const std::function<void(Communicator&, const Backend&)>&) { return false; }

bool has_nodes() { return false; }

std::size_t node_of(Rank) { return 0; }

}  // namespace moewe::test
