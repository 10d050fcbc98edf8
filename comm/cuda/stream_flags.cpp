#include "comm/cuda/stream_flags.hpp"

#include <cuda.h>

#include "comm/cuda/check.hpp"
#include "comm/cuda/driver.hpp"

namespace moewe {
namespace {

using FlagFunction = CUresult (*)(CUstream, CUdeviceptr, cuuint64_t, unsigned int);

CUdeviceptr address_of(const std::uint64_t* flag) { return reinterpret_cast<CUdeviceptr>(flag); }

}  // namespace

void set_flag_on(cudaStream_t stream, std::uint64_t* flag, std::uint64_t value) {
  static const auto write = reinterpret_cast<FlagFunction>(driver_function("cuStreamWriteValue64"));
  check_cuda_driver(write(stream, address_of(flag), value, CU_STREAM_WRITE_VALUE_DEFAULT));
}

void wait_for_flag_on(cudaStream_t stream, const std::uint64_t* flag, std::uint64_t value) {
  static const auto wait = reinterpret_cast<FlagFunction>(driver_function("cuStreamWaitValue64"));
  check_cuda_driver(wait(stream, address_of(flag), value, CU_STREAM_WAIT_VALUE_GEQ));
}

}  // namespace moewe
