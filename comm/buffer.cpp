#include "comm/buffer.hpp"

#include <cstdlib>
#include <fmt/format.h>
#include <utility>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr std::size_t alignment = 64;

}  // namespace

Buffer::Buffer(MemoryMeter& meter, std::string_view name, std::size_t bytes)
    : meter_(&meter), name_(name), bytes_(bytes) {
  if (bytes == 0) return;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  data_ = static_cast<std::byte*>(std::aligned_alloc(alignment, rounded));
  if (data_ == nullptr) {
    throw Error(ErrorKind::out_of_memory, fmt::format("no memory for {} bytes of {}", bytes, name));
  }
  meter_->add(name_, bytes_);
}

Buffer::~Buffer() { release(); }

Buffer::Buffer(Buffer&& other) noexcept
    : meter_(other.meter_),
      name_(std::move(other.name_)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this == &other) return *this;
  release();
  meter_ = other.meter_;
  name_ = std::move(other.name_);
  data_ = std::exchange(other.data_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

void Buffer::reserve(MemoryMeter& meter, std::string_view name, std::size_t bytes) {
  if (bytes <= bytes_) return;
  release();
  *this = Buffer(meter, name, bytes);
}

void Buffer::release() noexcept {
  if (data_ == nullptr) return;
  std::free(data_);
  meter_->remove(name_, bytes_);
  data_ = nullptr;
  bytes_ = 0;
}

}  // namespace moewe
