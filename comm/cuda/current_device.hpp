#pragma once

#include <cuda_runtime_api.h>

#include "comm/cuda/check.hpp"

namespace moewe {

/// Makes a GPU the calling thread's current one, and at the end of the scope the one that was: an embedder's
/// thread keeps its own.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device) {
    check_cuda(cudaGetDevice(&before_));
    if (device != before_) check_cuda(cudaSetDevice(device));
    is_changed_ = device != before_;
  }
  ~CurrentDevice() {
    if (is_changed_) report_cuda(cudaSetDevice(before_));
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int before_ = 0;
  bool is_changed_ = false;
};

}  // namespace moewe
