#pragma once

#include <cuda_runtime_api.h>
#include <span>

#include "comm/queue.hpp"

namespace moewe {

// A stream's own operations on 64-bit words that the device addresses. They are a function of the driver,
// which is asked for it at the first use, so that a program that is linked with CUDA starts without one. They
// are recorded where the stream is being captured. Throw Error(communication), also where the driver has no
// such function. The stream's device is the current one.

/// Behind everything on the stream, for whoever sees it.
void set_flags_on(cudaStream_t stream, std::span<const FlagValue> flags);

/// Until each flag is its value or more. Holds up other streams of the process that CUDA puts into the same
/// queue of the GPU: where those set the flag, CUDA_DEVICE_MAX_CONNECTIONS has to be larger than the number
/// of streams.
void wait_for_flags_on(cudaStream_t stream, std::span<const FlagValue> flags);

}  // namespace moewe
