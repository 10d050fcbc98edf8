#include <mpi.h>

#include "comm/mpi/mpi_backend.hpp"
#include "tests/support/world.hpp"

namespace moewe::test {

void on_every_rank(const std::function<void(Communicator&, const Backend&)>& work) {
  const auto communicator = make_mpi_communicator(MPI_COMM_WORLD, patience);
  work(*communicator, mpi_backend());
}

}  // namespace moewe::test
