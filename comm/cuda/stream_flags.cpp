#include "comm/cuda/stream_flags.hpp"

#include <algorithm>
#include <cuda.h>
#include <vector>

#include "comm/cuda/check.hpp"
#include "comm/cuda/driver.hpp"

namespace moewe {
namespace {

using BatchFunction = CUresult (*)(CUstream, unsigned int, CUstreamBatchMemOpParams*, unsigned int);

/// Fewer than the 256 that one batch must have less than.
constexpr std::size_t most_in_batch = 255;

CUdeviceptr address_of(const FlagValue& flag) { return reinterpret_cast<CUdeviceptr>(flag.flag); }

CUstreamBatchMemOpParams write_of(const FlagValue& flag) {
  CUstreamBatchMemOpParams params{};
  params.writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_64;
  params.writeValue.address = address_of(flag);
  params.writeValue.value64 = flag.value;
  params.writeValue.flags = CU_STREAM_WRITE_VALUE_DEFAULT;
  return params;
}

CUstreamBatchMemOpParams wait_of(const FlagValue& flag) {
  CUstreamBatchMemOpParams params{};
  params.waitValue.operation = CU_STREAM_MEM_OP_WAIT_VALUE_64;
  params.waitValue.address = address_of(flag);
  params.waitValue.value64 = flag.value;
  params.waitValue.flags = CU_STREAM_WAIT_VALUE_GEQ;
  return params;
}

/// Where a GPU can, it waits for what others have written before the flag, be they no GPUs.
CUstreamBatchMemOpParams flushing_wait_of(const FlagValue& flag) {
  CUstreamBatchMemOpParams params = wait_of(flag);
  params.waitValue.flags |= CU_STREAM_WAIT_VALUE_FLUSH;
  return params;
}

bool can_flush() {
  int device = 0, can = 0;
  check_cuda(cudaGetDevice(&device));
  check_cuda(cudaDeviceGetAttribute(&can, cudaDevAttrCanFlushRemoteWrites, device));
  return can != 0;
}

void enqueue(cudaStream_t stream, std::span<const FlagValue> flags,
             CUstreamBatchMemOpParams (*operation_of)(const FlagValue&)) {
  static const auto batch = reinterpret_cast<BatchFunction>(driver_function("cuStreamBatchMemOp"));
  std::vector<CUstreamBatchMemOpParams> operations(flags.size());
  std::transform(flags.begin(), flags.end(), operations.begin(), operation_of);
  for (std::size_t first = 0; first < flags.size(); first += most_in_batch) {
    const std::size_t count = std::min(most_in_batch, flags.size() - first);
    check_cuda_driver(batch(stream, static_cast<unsigned int>(count), operations.data() + first, 0));
  }
}

}  // namespace

void set_flags_on(cudaStream_t stream, std::span<const FlagValue> flags) { enqueue(stream, flags, write_of); }

void wait_for_flags_on(cudaStream_t stream, std::span<const FlagValue> flags) {
  enqueue(stream, flags, can_flush() ? flushing_wait_of : wait_of);
}

}  // namespace moewe
