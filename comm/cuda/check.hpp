#pragma once

#include <source_location>

namespace moewe {

/// Throws with CUDA's text and the place of the call unless `code`, a cudaError_t, is success:
/// Error(out_of_memory) where there is too little memory, else Error(communication).
void check_cuda(int code, std::source_location where = std::source_location::current());

/// The same for codes of the driver's functions, of type CUresult, which have been the runtime's since CUDA
/// 10.1.
void check_cuda_driver(int code, std::source_location where = std::source_location::current());

/// For destructors: a failure is logged, unless the process is ending anyway. Throws nothing.
void report_cuda(int code, std::source_location where = std::source_location::current()) noexcept;

}  // namespace moewe
