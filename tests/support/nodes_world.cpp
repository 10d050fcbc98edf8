#include <gtest/gtest.h>
#include <optional>

#include "comm/loopback/run_ranks.hpp"
#include "tests/support/world.hpp"

namespace moewe::test {
namespace {

/// Ways to spread ranks over nodes: a label per rank.
const std::vector<std::vector<std::uint64_t>> spreads{
#ifndef MOEWE_SANITIZED  // which is slow, and finds in few ranks what it finds in many
    {0, 0, 1, 1},
    {0, 0, 1, 2, 2, 2},
#endif
    {0, 1},
    {0, 1, 0, 1, 1}};

std::optional<Topology> current;

}  // namespace

void on_every_rank(const std::function<void(Communicator&, const Backend&)>& work) {
  for (const auto& labels : spreads) {
    current.emplace(labels);
    const ::testing::ScopedTrace trace(__FILE__, __LINE__, "nodes " + ::testing::PrintToString(labels));
    run_ranks(*current, patience,
              [&](Communicator& communicator) { work(communicator, loopback_backend()); });
  }
}

bool on_both_halves(const std::function<void(Communicator&, const Backend&)>&) { return false; }

bool has_nodes() { return true; }

std::size_t node_of(Rank rank) { return current->node_of(rank); }

}  // namespace moewe::test
