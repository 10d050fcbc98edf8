#pragma once

#include <cstddef>

#include "comm/queue.hpp"

// Tests run the bodies of kernels on the host, thread by thread, and bring a start() of their own.
#ifndef MOEWE_KERNELS_ON_HOST

namespace moewe {

/// Starts a kernel on blocks of so many threads, with so many bytes of shared memory besides what it
/// declares. Returns the launch's own code, not what the thread's calls of CUDA have left behind.
template <typename Work>
int start(void (*kernel)(Work), dim3 grid, unsigned int threads, std::size_t bytes, StreamHandle stream,
          const Work& work) {
  constexpr std::size_t always_there = std::size_t{48} << 10U;  // more is to be asked for
  if (bytes > always_there) {
    const int code =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    if (code != cudaSuccess) return code;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, work);
}

/// Those bytes.
template <typename Value>
__device__ Value* shared_bytes() {
  extern __shared__ uint4 memory[];
  return reinterpret_cast<Value*>(memory);
}

}  // namespace moewe

#endif
