#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "comm/queue.hpp"

namespace moewe {

/// Where memory of a device lies.
enum class MemoryKind {
  device,
  pinned,  ///< on the host, where it never moves, so that copies run beside the caller
};

/// Says to a rank of another process of the node where shared device memory lies. Travels as it is.
struct MemoryHandle {
  std::array<std::byte, 64> bytes{};
  bool may_grow = false;
};

/// Device memory of this rank, or of a peer that shares it, for as long as the object lives. The bytes are
/// device memory: the host reads and writes them through a queue.
class SharedMemory {
 public:
  virtual ~SharedMemory() = default;
  virtual std::byte* data() = 0;
  virtual MemoryHandle handle() const = 0;

  /// Own memory: at least this long from now on, at the same address, with what it holds. Throws
  /// Error(out_of_memory), also beyond what was reserved, or where the device cannot grow memory.
  virtual void grow(std::size_t bytes) = 0;

  /// Another process's: what it has grown to by now is addressed from now on.
  virtual void follow() = 0;
};

/// Host memory that kernels and queues address too, for as long as the object lives.
class ShownMemory {
 public:
  virtual ~ShownMemory() = default;

  /// The memory's first byte as the device addresses it.
  virtual std::byte* device_address() = 0;
};

/// What a rank computes on beside its cores: a GPU, or its emulation. Several ranks may share one; each has
/// an object of its own, which outlives all that it made. Nothing is collective, but what makes or frees
/// something may wait for all queues of the process on that GPU. Out of memory is Error(out_of_memory), any
/// other failure Error(communication).
class Device {
 public:
  virtual ~Device() = default;

  /// Equal for two objects of a process only if they address the same memory.
  virtual std::size_t number() const = 0;

  /// Where a GPU is on its node, as PCI has it: the same for ranks that share one, whatever GPUs their
  /// processes see. Empty where the host's memory is the device's own.
  virtual std::string bus_id() const { return ""; }

  /// For people: model, architecture, driver.
  virtual std::string description() const = 0;
  virtual bool is_emulated() const = 0;

  /// Bytes that those who share it can still allocate together; more than there can be where the host's
  /// memory is its own.
  virtual std::size_t free_bytes() const = 0;

  /// From now on a GPU is the calling thread's current one: libraries that are given its memory, as MPI and
  /// UCX are, work with that. Everything else here leaves the current one as it is.
  virtual void make_current() {}

  virtual std::unique_ptr<Queue> make_queue() = 0;
  virtual std::unique_ptr<Event> make_event() = 0;

  /// Aligned to 256 bytes, not initialised. Prefer DeviceBuffer.
  virtual std::byte* allocate(MemoryKind kind, std::size_t bytes) = 0;
  virtual void free(MemoryKind kind, std::byte* memory) noexcept = 0;

  /// Memory of `bytes` > 0 for peers to address: threads of this process by its address, once let_address has
  /// been called, other processes by its handle. It must be kept until every process has let go of it. With
  /// `reserved` > `bytes` it may grow that far, where the device can.
  virtual std::unique_ptr<SharedMemory> share(std::size_t bytes, std::size_t reserved) = 0;

  /// Another process's shared memory, with as much reserved, by its handle.
  virtual std::unique_ptr<SharedMemory> open(const MemoryHandle& handle, std::size_t reserved) = 0;

  /// Whether this device addresses memory of that one, of this machine, from now on. Asking again is free.
  virtual bool let_address(std::size_t device) = 0;

  /// Whole pages that are not shown already in this process.
  virtual std::unique_ptr<ShownMemory> show_host_memory(std::byte* memory, std::size_t bytes) = 0;
};

/// A device, or the reason why there is none.
struct DeviceOffer {
  std::unique_ptr<Device> device;
  std::string reason_for_none;
};

/// On what kernels run.
enum class DeviceChoice {
  automatic,  ///< on a GPU where there is one
  cpu,        ///< on the emulated device
  gpu,
};

/// A device for the rank with this number on its node: GPUs are dealt in turns. Where there is no GPU,
/// `automatic` offers the emulated device and says why, `gpu` offers none. Local; may differ between ranks.
DeviceOffer choose_device(DeviceChoice choice, std::size_t rank_on_node);

}  // namespace moewe
