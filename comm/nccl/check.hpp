#pragma once

#include <nccl.h>
#include <source_location>

namespace moewe {

/// Throws Error(communication) with NCCL's text and the place of the call unless `code` is ncclSuccess or
/// ncclInProgress, which is what a communicator that does not block answers.
void check_nccl(ncclResult_t code, std::source_location where = std::source_location::current());

/// For destructors: a failure is logged. Throws nothing.
void report_nccl(ncclResult_t code, std::source_location where = std::source_location::current()) noexcept;

}  // namespace moewe
