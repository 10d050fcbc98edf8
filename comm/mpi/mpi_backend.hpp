#pragma once

#include <chrono>
#include <memory>
#include <mpi.h>
#include <string>

#include "comm/backend.hpp"

namespace moewe {

/// Collective over `parent`, which is duplicated, never used again and stays the caller's. MPI must be
/// initialised and must not be finalised before the result is destroyed.
std::unique_ptr<Communicator> make_mpi_communicator(MPI_Comm parent, std::chrono::duration<double> timeout);

/// How ranks that are MPI processes reach one another: messages over MPI, shared memory inside a node.
Backend mpi_backend();

/// Name and version of the MPI library.
std::string mpi_version();

}  // namespace moewe
