#include <cstdlib>
#include <mpi.h>
#include <string_view>

#include "comm/mpi/mpi_backend.hpp"
#include "comm/ucx/ucx_transport.hpp"
#include "tests/support/world.hpp"

namespace moewe::test {
namespace {

Backend backend() {
  const char* carrier = std::getenv("MOEWE_TEST_CARRIER");
  return carrier != nullptr && std::string_view(carrier) == "ucx" ? over_ucx(mpi_backend()) : mpi_backend();
}

}  // namespace

void on_every_rank(const std::function<void(Communicator&, const Backend&)>& work) {
  const auto communicator = make_mpi_communicator(MPI_COMM_WORLD, patience);
  work(*communicator, backend());
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

}  // namespace moewe::test
