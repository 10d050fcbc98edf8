#include "benchmarks/mpi_program.hpp"

#include <mpi.h>

#include "benchmarks/command_line.hpp"
#include "comm/error.hpp"
#include "comm/mpi/mpi_backend.hpp"

namespace moewe::bench {

int run_mpi_rank(const char* program, bool same_on_all_ranks,
                 const std::function<void(Communicator&)>& work) {
  int provided = MPI_THREAD_SINGLE;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
  try {
    expects(provided >= MPI_THREAD_FUNNELED, "MPI can be used by processes with threads");
    work(*make_mpi_communicator(MPI_COMM_WORLD, patience));
  } catch (...) {
    MPI_Abort(MPI_COMM_WORLD, report_failure(program, same_on_all_ranks));
  }
  return MPI_Finalize();
}

}  // namespace moewe::bench
