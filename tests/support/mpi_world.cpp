#include <cstdlib>
#include <mpi.h>
#include <string_view>

#include "comm/mpi/mpi_backend.hpp"
#include "comm/ucx/ucx_transport.hpp"
#include "tests/support/apart.hpp"
#include "tests/support/device_messages.hpp"
#include "tests/support/device_peers.hpp"
#include "tests/support/world.hpp"

namespace moewe::test {
namespace {

std::string_view carrier() {
  const char* name = std::getenv("MOEWE_TEST_CARRIER");
  return name == nullptr ? "mpi" : name;
}

Backend backend() {
  return with_chosen_messages(
      with_chosen_peers(carrier() == "mpi" ? mpi_backend() : over_ucx(mpi_backend())));
}

}  // namespace

void on_every_rank(const std::function<void(Communicator&, const Backend&)>& work) {
  const auto communicator = make_mpi_communicator(MPI_COMM_WORLD, patience);
  if (carrier() != "ucx between nodes") return work(*communicator, backend());
  Apart apart(*communicator);
  work(apart, backend());
}

bool on_both_halves(const std::function<void(Communicator&, const Backend&)>& work) {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm half = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &half);
  {
    const auto communicator = make_mpi_communicator(half, patience);
    work(*communicator, backend());
  }
  MPI_Comm_free(&half);
  return true;
}

bool has_nodes() { return false; }

std::size_t node_of(Rank) { return 0; }

}  // namespace moewe::test
