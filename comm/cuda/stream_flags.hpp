#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace moewe {

// A stream's own operations on a 64-bit word that the device addresses. They are functions of the driver,
// which is asked for them at the first use, so that a program that is linked with CUDA starts without one.
// Throw Error(communication), also where the driver has no such function.

/// Behind everything on the stream, for whoever sees it.
void set_flag_on(cudaStream_t stream, std::uint64_t* flag, std::uint64_t value);

/// Until the flag is `value` or more. Holds up other streams of the process that CUDA puts into the same
/// queue of the GPU: where those set the flag, CUDA_DEVICE_MAX_CONNECTIONS has to be larger than the number
/// of streams.
void wait_for_flag_on(cudaStream_t stream, const std::uint64_t* flag, std::uint64_t value);

}  // namespace moewe
