#include "comm/emulated/emulated_device.hpp"

#include <cstdlib>
#include <cstring>
#include <unistd.h>
#include <utility>

#include "comm/emulated/emulated_queue.hpp"
#include "comm/error.hpp"
#include "comm/recording_here.hpp"
#include "comm/shm/segment.hpp"

namespace moewe {
namespace {

constexpr std::size_t alignment = 256;

struct FileAddress {
  pid_t process;
  int file;
};
static_assert(sizeof(FileAddress) <= sizeof(MemoryHandle::bytes));

class FileMemory : public SharedMemory {
 public:
  explicit FileMemory(Segment segment) : segment_(std::move(segment)) {}
  std::byte* data() override { return segment_.data(); }
  MemoryHandle handle() const override {
    const FileAddress address{getpid(), segment_.file()};
    MemoryHandle handle{};
    std::memcpy(handle.bytes.data(), &address, sizeof address);
    return handle;
  }
  void grow(std::size_t bytes) override { segment_.grow(bytes); }
  void follow() override {}

 private:
  Segment segment_;
};

/// What the device addresses like the host.
class SameAddress : public ShownMemory {
 public:
  explicit SameAddress(std::byte* memory) : memory_(memory) {}
  std::byte* device_address() override { return memory_; }

 private:
  std::byte* memory_;
};

class EmulatedDevice : public Device {
 public:
  std::size_t number() const override { return 0; }
  std::string description() const override { return "emulated on the CPU"; }
  bool is_emulated() const override { return true; }
  std::size_t free_bytes() const override { return SIZE_MAX; }
  std::unique_ptr<Queue> make_queue() override { return std::make_unique<EmulatedQueue>(); }
  std::unique_ptr<Event> make_event() override { return std::make_unique<EmulatedEvent>(); }

  std::byte* allocate(MemoryKind, std::size_t bytes) override {
    RecordingHere::forbid("making memory of a device");
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    void* memory = rounded < bytes ? nullptr : std::aligned_alloc(alignment, rounded);
    if (memory == nullptr) throw Error(ErrorKind::out_of_memory, "no memory on the emulated device");
    return static_cast<std::byte*>(memory);
  }
  void free(MemoryKind, std::byte* memory) noexcept override { std::free(memory); }

  std::unique_ptr<SharedMemory> share(std::size_t bytes, std::size_t reserved) override {
    RecordingHere::forbid("sharing memory of a device");
    Segment segment(create_memfd(), Segment::Access::write, reserved);
    segment.grow(bytes);
    return std::make_unique<FileMemory>(std::move(segment));
  }

  std::unique_ptr<SharedMemory> open(const MemoryHandle& handle, std::size_t reserved) override {
    FileAddress address{};
    std::memcpy(&address, handle.bytes.data(), sizeof address);
    FileDescriptor file = open_memfd_of(address.process, address.file, FileAccess::write);
    return std::make_unique<FileMemory>(Segment(std::move(file), Segment::Access::write, reserved));
  }

  bool let_address(std::size_t) override { return true; }

  std::unique_ptr<ShownMemory> show_host_memory(std::byte* memory, std::size_t) override {
    return std::make_unique<SameAddress>(memory);
  }
};

}  // namespace

std::unique_ptr<Device> make_emulated_device() { return std::make_unique<EmulatedDevice>(); }

}  // namespace moewe
