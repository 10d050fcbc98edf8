#pragma once

#include <cstddef>

namespace moewe {

/// Cuts memory into pieces of 256-byte alignment. Without memory it only counts, so that one function tells
/// both how much is needed and where each piece lies.
class DeviceArena {
 public:
  explicit DeviceArena(std::byte* memory = nullptr) : memory_(memory) {}

  /// Null where it only counts.
  template <typename T>
  T* take(std::size_t count) {
    std::byte* const piece = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (count * sizeof(T) + alignment - 1) / alignment * alignment;
    return reinterpret_cast<T*>(piece);
  }

  std::size_t used() const { return used_; }

 private:
  static constexpr std::size_t alignment = 256;

  std::byte* memory_;
  std::size_t used_ = 0;
};

}  // namespace moewe
