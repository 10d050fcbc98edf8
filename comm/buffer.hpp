#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "comm/memory_meter.hpp"

namespace moewe {

/// Owns host memory that is large enough to be worth counting. 64-byte aligned, not initialised. Move-only.
/// The meter must outlive the buffer.
class Buffer {
 public:
  Buffer() = default;

  /// Throws Error(out_of_memory) with name and size when the memory cannot be had.
  Buffer(MemoryMeter& meter, std::string_view name, std::size_t bytes);
  ~Buffer();

  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }

  /// Makes room for at least `bytes`. What the buffer held is lost when it grows; it never shrinks.
  void reserve(MemoryMeter& meter, std::string_view name, std::size_t bytes);

  /// The first `count` elements seen as T.
  template <typename T>
  std::span<T> as(std::size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    return {reinterpret_cast<T*>(data_), count};
  }
  template <typename T>
  std::span<const T> as(std::size_t count) const {
    static_assert(std::is_trivially_copyable_v<T>);
    return {reinterpret_cast<const T*>(data_), count};
  }

 private:
  void release() noexcept;

  MemoryMeter* meter_ = nullptr;
  std::string name_;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// A Buffer that is made larger when more is asked for, and never smaller, under one name.
class GrowingBuffer {
 public:
  /// `meter` outlives the buffer.
  GrowingBuffer(MemoryMeter& meter, std::string_view name) : meter_(&meter), name_(name) {}

  /// Makes room for `count` elements. What the buffer held is lost when it grows. Throws
  /// Error(out_of_memory).
  template <typename T>
  std::span<T> resize(std::size_t count) {
    buffer_.reserve(*meter_, name_, count * sizeof(T));
    return buffer_.as<T>(count);
  }

  /// Gives all memory back, until the next resize.
  void release() { buffer_ = Buffer(); }

  /// The first `count` elements, for which room has been made.
  template <typename T>
  std::span<T> as(std::size_t count) {
    return buffer_.as<T>(count);
  }
  template <typename T>
  std::span<const T> as(std::size_t count) const {
    return buffer_.as<T>(count);
  }

 private:
  MemoryMeter* meter_;
  std::string name_;
  Buffer buffer_;
};

}  // namespace moewe
