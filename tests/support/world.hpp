#pragma once

#include <functional>

#include "comm/backend.hpp"

namespace moewe::test {

/// Runs `work` on every rank of the world that the test was linked with: under MPI on the ranks that mpirun
/// started, with messages over $MOEWE_TEST_CARRIER: "mpi" (the default), "ucx", or "ucx between nodes", where
/// no two ranks share one; in loopback on threads, for 1, 2, 3, 4 and 8 ranks one after the other; and in the
/// world of several nodes on threads that cannot address other nodes' memory, for several ways to spread
/// ranks over nodes.
void on_every_rank(const std::function<void(Communicator&, const Backend&)>& work);

/// The same on the ranks of even and those of odd number, each with a communicator of their own, at the same
/// time. Does nothing and returns false where the world cannot be split.
bool on_both_halves(const std::function<void(Communicator&, const Backend&)>& work);

/// Whether the world's ranks lie on several nodes.
bool has_nodes();

/// The node of a rank of the run that on_every_rank is in.
std::size_t node_of(Rank rank);

/// How long a rank of a test waits before the test has failed.
inline constexpr std::chrono::seconds patience{20};

}  // namespace moewe::test
