#include "comm/device_buffer.hpp"

#include "comm/error.hpp"

namespace moewe {

DeviceBuffer::DeviceBuffer(Device& device, MemoryMeter& meter, std::string_view name, std::size_t bytes,
                           MemoryKind kind)
    : device_(&device), meter_(&meter), name_(name), kind_(kind), bytes_(bytes) {
  if (bytes == 0) return;
  try {
    data_ = device.allocate(kind, bytes);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::out_of_memory) throw;
    std::string what = "no memory for ";
    what.append(std::to_string(bytes)).append(" bytes of ").append(name);
    what.append(kind == MemoryKind::device ? " on the device: " : ", pinned: ").append(error.what());
    throw Error(ErrorKind::out_of_memory, what);
  }
  meter_->add(name_, bytes_);
}

void DeviceBuffer::swap(DeviceBuffer& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(meter_, other.meter_);
  std::swap(name_, other.name_);
  std::swap(kind_, other.kind_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
}

void DeviceBuffer::release() noexcept {
  if (data_ == nullptr) return;
  device_->free(kind_, data_);
  meter_->remove(name_, bytes_);
  data_ = nullptr;
}

PinnedPool::PinnedPool(Device& device, MemoryMeter& meter, std::size_t num_chunks, std::size_t chunk_bytes)
    : chunk_bytes_(chunk_bytes),
      memory_(device, meter, meter_name, num_chunks * chunk_bytes, MemoryKind::pinned),
      is_taken_(num_chunks, false) {
  for (std::size_t number = num_chunks; number > 0; --number) free_.push_back(number - 1);
}

PinnedPool::Chunk PinnedPool::take() {
  if (free_.empty()) return {nullptr, 0};
  const std::size_t number = free_.back();
  free_.pop_back();
  is_taken_[number] = true;
  return {memory_.data() + number * chunk_bytes_, number};
}

void PinnedPool::give_back(const Chunk& chunk) {
  expects(chunk.data != nullptr && is_taken_[chunk.number], "a chunk is given back once, after it was taken");
  is_taken_[chunk.number] = false;
  free_.push_back(chunk.number);
}

}  // namespace moewe
