#include "comm/cuda/check.hpp"

#include <cuda_runtime_api.h>
#include <string>

#include "comm/error.hpp"
#include "comm/log.hpp"

namespace moewe {
namespace {

/// Also makes CUDA forget it, lest a later call report it once more; what broke the context it keeps.
std::string describe(int code, const std::source_location& where) {
  cudaGetLastError();
  std::string what = "CUDA reported '";
  what.append(cudaGetErrorString(static_cast<cudaError_t>(code))).append("' (").append(where.file_name());
  return what.append(":").append(std::to_string(where.line())).append(")");
}

}  // namespace

void check_cuda(int code, std::source_location where) {
  if (code == cudaSuccess) return;
  const bool is_memory = code == cudaErrorMemoryAllocation;
  throw Error(is_memory ? ErrorKind::out_of_memory : ErrorKind::communication, describe(code, where));
}

void check_cuda_driver(int code, std::source_location where) { check_cuda(code, where); }

void report_cuda(int code, std::source_location where) noexcept {
  if (code == cudaSuccess || code == cudaErrorCudartUnloading) return;
  try {
    log(LogLevel::warning, describe(code, where));
  } catch (...) {  // a destructor has nobody left to tell
    return;
  }
}

}  // namespace moewe
