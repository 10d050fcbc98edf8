#pragma once

#include <new>

namespace moewe {

/// Makes a GPU the calling thread's current one, and at the end of the scope what was current before, be it
/// none: an embedder's thread keeps its own, and no other GPU gets a context. For CUDA's driver too, whose
/// functions want a context. It is the GPU's primary one, which is kept from the first use on until the
/// process ends.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device);

  /// For destructors: what fails is logged.
  CurrentDevice(int device, std::nothrow_t) noexcept;
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  bool is_pushed_ = false;
};

}  // namespace moewe
