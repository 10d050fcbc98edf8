#pragma once

#include <cstddef>
#include <memory>

#include "comm/device.hpp"

namespace moewe {

// Device memory that grows where it lies and that other processes follow: a range of addresses is reserved,
// and blocks of memory are put into it one behind the other. The blocks' files are listed in host memory,
// which those who follow map; they take the files over from their owner, which the system allows to processes
// of the same user unless it forbids them to debug one another.

/// Whether a GPU and its driver can do so.
bool can_grow_memory(int device);

/// Memory of the GPU of `bytes` > 0 that may grow to `reserved`. Every GPU of the process that addresses this
/// one addresses it.
std::unique_ptr<SharedMemory> make_growing_memory(int device, std::size_t bytes, std::size_t reserved);

/// Another process's, made with the same `reserved`, for this GPU to address.
std::unique_ptr<SharedMemory> open_growing_memory(int device, const MemoryHandle& handle,
                                                  std::size_t reserved);

}  // namespace moewe
