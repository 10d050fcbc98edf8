#pragma once

#include <chrono>
#include <memory>
#include <mpi.h>
#include <string>

#include "comm/backend.hpp"
#include "comm/mailbox.hpp"

namespace moewe {

/// Collective over `parent`, which is duplicated, never used again and stays the caller's. MPI must be
/// initialised for processes with threads (MPI_THREAD_FUNNELED, else a shared InvalidInput) and must not be
/// finalised before the result is destroyed.
std::unique_ptr<Communicator> make_mpi_communicator(MPI_Comm parent, std::chrono::duration<double> timeout);

/// How ranks that are MPI processes reach one another: messages over MPI, shared memory inside a node.
Backend mpi_backend();

/// Collective. Letters over MPI, on a communicator of their own. `communicator` is an MPI one.
std::unique_ptr<Mailbox> make_mpi_mailbox(Communicator& communicator);

/// Name and version of the MPI library.
std::string mpi_version();

}  // namespace moewe
