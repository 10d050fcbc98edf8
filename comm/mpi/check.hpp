#pragma once

#include <source_location>

namespace moewe {

/// Throws Error(communication) with MPI's text and the place of the call unless `code` is MPI_SUCCESS. Only
/// reached on communicators whose error handler returns; MPI's default handler ends the job before.
void check_mpi(int code, std::source_location where = std::source_location::current());

/// For destructors: a failure is logged, and nothing is thrown.
void report_mpi(int code, std::source_location where = std::source_location::current()) noexcept;

}  // namespace moewe
