#include "comm/cuda/cuda_device.hpp"

#include <array>
#include <cstring>
#include <cuda_runtime_api.h>
#include <utility>

#include "comm/cuda/check.hpp"
#include "comm/cuda/cuda_queue.hpp"
#include "comm/cuda/current_device.hpp"
#include "comm/cuda/growing_memory.hpp"
#include "comm/error.hpp"
#include "comm/recording_here.hpp"

namespace moewe {
namespace {

constexpr int oldest_architecture = 8;

/// Shared memory is made of whole blocks of this size, of which CUDA shares no other allocation's part.
constexpr std::size_t sharing_granularity = std::size_t{2} << 20U;

std::byte* allocate_on_device(std::size_t bytes) {
  void* memory = nullptr;
  check_cuda(cudaMalloc(&memory, bytes));
  return static_cast<std::byte*>(memory);
}

class OwnMemory : public SharedMemory {
 public:
  OwnMemory(int device, std::size_t bytes) : device_(device), bytes_(bytes) {
    const CurrentDevice current(device_);
    const std::size_t blocks = (bytes - 1) / sharing_granularity + 1;
    if (blocks > SIZE_MAX / sharing_granularity) check_cuda(cudaErrorMemoryAllocation);
    memory_ = allocate_on_device(blocks * sharing_granularity);
  }
  ~OwnMemory() override {
    const CurrentDevice current(device_, std::nothrow);
    report_cuda(cudaFree(memory_));
  }
  OwnMemory(const OwnMemory&) = delete;
  OwnMemory& operator=(const OwnMemory&) = delete;

  std::byte* data() override { return memory_; }

  void grow(std::size_t bytes) override {
    if (bytes > bytes_)
      throw Error(ErrorKind::out_of_memory, "this shared memory of the GPU has a fixed size");
  }
  void follow() override {}

  MemoryHandle handle() const override {
    const CurrentDevice current(device_);
    cudaIpcMemHandle_t ipc{};
    check_cuda(cudaIpcGetMemHandle(&ipc, memory_));
    MemoryHandle handle{};
    static_assert(sizeof ipc == sizeof handle.bytes);
    std::memcpy(handle.bytes.data(), &ipc, sizeof ipc);
    return handle;
  }

 private:
  int device_;
  std::size_t bytes_;
  std::byte* memory_ = nullptr;
};

class PeersMemory : public SharedMemory {
 public:
  PeersMemory(int device, const MemoryHandle& handle) : device_(device), handle_(handle) {
    const CurrentDevice current(device);
    try {
      open();
    } catch (const Error& error) {  // CUDA's words for that are of contexts
      throw Error(error.kind(), std::string(error.what()) +
                                    "; memory of a GPU is opened by processes that see it: "
                                    "CUDA_VISIBLE_DEVICES names all of the node's GPUs for each rank");
    }
  }
  ~PeersMemory() override {
    const CurrentDevice current(device_, std::nothrow);
    report_cuda(cudaIpcCloseMemHandle(memory_));
  }
  PeersMemory(const PeersMemory&) = delete;
  PeersMemory& operator=(const PeersMemory&) = delete;

  std::byte* data() override { return static_cast<std::byte*>(memory_); }
  MemoryHandle handle() const override { return handle_; }
  void grow(std::size_t) override { throw Error(ErrorKind::internal, "shared memory is grown by its owner"); }
  void follow() override {}

 private:
  void open() {
    cudaIpcMemHandle_t ipc{};
    std::memcpy(&ipc, handle_.bytes.data(), sizeof ipc);
    check_cuda(cudaIpcOpenMemHandle(&memory_, ipc, cudaIpcMemLazyEnablePeerAccess));
  }

  int device_;
  MemoryHandle handle_;
  void* memory_ = nullptr;
};

class RegisteredMemory : public ShownMemory {
 public:
  RegisteredMemory(int device, std::byte* memory, std::size_t bytes) : device_(device), memory_(memory) {
    const CurrentDevice current(device);
    check_cuda(cudaHostRegister(memory, bytes, cudaHostRegisterPortable | cudaHostRegisterMapped));
    const int code = cudaHostGetDevicePointer(&on_device_, memory, 0);
    if (code != cudaSuccess) report_cuda(cudaHostUnregister(memory));
    check_cuda(code);
  }
  ~RegisteredMemory() override {
    const CurrentDevice current(device_, std::nothrow);
    report_cuda(cudaHostUnregister(memory_));
  }
  RegisteredMemory(const RegisteredMemory&) = delete;
  RegisteredMemory& operator=(const RegisteredMemory&) = delete;

  std::byte* device_address() override { return static_cast<std::byte*>(on_device_); }

 private:
  int device_;
  std::byte* memory_;
  void* on_device_ = nullptr;
};

class CudaDevice : public Device {
 public:
  explicit CudaDevice(int device) : device_(device) {}

  std::size_t number() const override { return static_cast<std::size_t>(device_); }
  std::string bus_id() const override {
    constexpr int longest = 32;
    std::array<char, longest> text{};
    check_cuda(cudaDeviceGetPCIBusId(text.data(), longest, device_));
    return text.data();
  }
  std::string description() const override;
  std::size_t free_bytes() const override;
  bool is_emulated() const override { return false; }
  void make_current() override { check_cuda(cudaSetDevice(device_)); }
  std::unique_ptr<Queue> make_queue() override { return std::make_unique<CudaQueue>(device_); }
  std::unique_ptr<Event> make_event() override { return std::make_unique<CudaEvent>(device_); }

  std::byte* allocate(MemoryKind kind, std::size_t bytes) override {
    RecordingHere::forbid("making memory of a device");
    const CurrentDevice current(device_);
    if (kind == MemoryKind::device) return allocate_on_device(bytes);
    void* memory = nullptr;
    check_cuda(cudaHostAlloc(&memory, bytes, cudaHostAllocPortable));
    return static_cast<std::byte*>(memory);
  }
  void free(MemoryKind kind, std::byte* memory) noexcept override {
    const CurrentDevice current(device_, std::nothrow);
    report_cuda(kind == MemoryKind::device ? cudaFree(memory) : cudaFreeHost(memory));
  }

  std::unique_ptr<SharedMemory> share(std::size_t bytes, std::size_t reserved) override {
    RecordingHere::forbid("sharing memory of a device");
    if (reserved > bytes && can_grow_memory(device_)) return make_growing_memory(device_, bytes, reserved);
    return std::make_unique<OwnMemory>(device_, bytes);
  }
  std::unique_ptr<SharedMemory> open(const MemoryHandle& handle, std::size_t reserved) override {
    if (handle.may_grow) return open_growing_memory(device_, handle, reserved);
    return std::make_unique<PeersMemory>(device_, handle);
  }
  bool let_address(std::size_t device) override;

  std::unique_ptr<ShownMemory> show_host_memory(std::byte* memory, std::size_t bytes) override {
    return std::make_unique<RegisteredMemory>(device_, memory, bytes);
  }

 private:
  int device_;
};

std::size_t CudaDevice::free_bytes() const {
  const CurrentDevice current(device_);
  std::size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total));
  return free;
}

std::string CudaDevice::description() const {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device_));
  int driver = 0;
  check_cuda(cudaDriverGetVersion(&driver));
  std::string text = properties.name;
  text.append(", sm_").append(std::to_string(properties.major * 10 + properties.minor));
  text.append(", driver for CUDA ").append(std::to_string(driver / 1000));
  return text.append(".").append(std::to_string(driver % 1000 / 10));
}

bool CudaDevice::let_address(std::size_t device) {
  const auto peer = static_cast<int>(device);
  if (peer == device_) return true;
  int can_access = 0;
  check_cuda(cudaDeviceCanAccessPeer(&can_access, device_, peer));
  if (can_access == 0) return false;
  const CurrentDevice current(device_);
  const int code = cudaDeviceEnablePeerAccess(peer, 0);
  if (code == cudaErrorPeerAccessAlreadyEnabled) {
    cudaGetLastError();
    return true;
  }
  check_cuda(code);
  return true;
}

DeviceOffer none_because(std::string reason) { return {nullptr, std::move(reason)}; }

}  // namespace

DeviceOffer offer_gpu(std::size_t rank_on_node) {
  try {
    int count = 0;
    check_cuda(cudaGetDeviceCount(&count));
    if (count == 0) return none_because("CUDA sees no GPU");
    const auto device = static_cast<int>(rank_on_node % static_cast<std::size_t>(count));
    int architecture = 0;
    check_cuda(cudaDeviceGetAttribute(&architecture, cudaDevAttrComputeCapabilityMajor, device));
    if (architecture < oldest_architecture)
      return none_because("the GPU is older than compute capability 8.0");
    return {std::make_unique<CudaDevice>(device), ""};
  } catch (const Error& error) {
    return none_because(error.what());
  }
}

}  // namespace moewe
