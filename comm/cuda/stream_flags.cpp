#include "comm/cuda/stream_flags.hpp"

#include <cuda.h>
#include <string>

#include "comm/cuda/check.hpp"
#include "comm/error.hpp"

namespace moewe {
namespace {

using FlagFunction = CUresult (*)(CUstream, CUdeviceptr, cuuint64_t, unsigned int);

void* find(const char* name) {
  constexpr unsigned int interface_version = 12000;
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  check_cuda(
      cudaGetDriverEntryPointByVersion(name, &function, interface_version, cudaEnableDefault, &result));
#else
  static_assert(CUDART_VERSION / 1000 * 1000 == interface_version);
  check_cuda(cudaGetDriverEntryPoint(name, &function, cudaEnableDefault, &result));
#endif
  if (result == cudaDriverEntryPointSuccess && function != nullptr) return function;
  std::string what = "CUDA's driver has no ";
  throw Error(ErrorKind::communication, what.append(name));
}

CUdeviceptr address_of(const std::uint64_t* flag) { return reinterpret_cast<CUdeviceptr>(flag); }

}  // namespace

void set_flag_on(cudaStream_t stream, std::uint64_t* flag, std::uint64_t value) {
  static const auto write = reinterpret_cast<FlagFunction>(find("cuStreamWriteValue64"));
  check_cuda_driver(write(stream, address_of(flag), value, CU_STREAM_WRITE_VALUE_DEFAULT));
}

void wait_for_flag_on(cudaStream_t stream, const std::uint64_t* flag, std::uint64_t value) {
  static const auto wait = reinterpret_cast<FlagFunction>(find("cuStreamWaitValue64"));
  check_cuda_driver(wait(stream, address_of(flag), value, CU_STREAM_WAIT_VALUE_GEQ));
}

}  // namespace moewe
