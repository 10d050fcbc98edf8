#include "benchmarks/mpi_program.hpp"

#include <mpi.h>

#include "benchmarks/cores.hpp"
#include "benchmarks/launched.hpp"
#include "benchmarks/program.hpp"
#include "comm/error.hpp"
#include "comm/loopback/run_ranks.hpp"
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

void run_pinned_ranks(const char* program, std::size_t num_ranks, std::size_t threads_of_rank,
                      const std::function<void(Communicator&, const Backend&)>& work) {
  if (started_by_launcher()) {
    run_mpi_rank(program, false, [&](Communicator& communicator) { work(communicator, mpi_backend()); });
    return;
  }
  pin_to_cores(0, num_ranks * threads_of_rank);
  run_ranks(num_ranks, patience, [&](Communicator& communicator) {
    pin_to_cores(index(communicator.rank()) * threads_of_rank, threads_of_rank);
    work(communicator, loopback_backend());
  });
}

}  // namespace moewe::bench
