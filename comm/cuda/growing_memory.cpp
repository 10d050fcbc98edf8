#include "comm/cuda/growing_memory.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <fcntl.h>
#include <string>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

#include "comm/cuda/block_range.hpp"
#include "comm/cuda/check.hpp"
#include "comm/cuda/current_device.hpp"
#include "comm/error.hpp"
#include "comm/shm/segment.hpp"

namespace moewe {
namespace {

/// The blocks of one owner's memory, in host memory that others map.
struct Table {
  static constexpr std::size_t most_blocks = 500;
  struct Block {
    std::uint64_t bytes;
    int file;  ///< of the owner's process
  };

  std::uint64_t num_blocks;  ///< atomic; what is below it is valid
  Block blocks[most_blocks];
};

struct TableAddress {
  pid_t process;
  int file;
};
static_assert(sizeof(TableAddress) <= sizeof(MemoryHandle::bytes));

class OwnGrowingMemory : public SharedMemory {
 public:
  OwnGrowingMemory(int device, std::size_t bytes, std::size_t reserved)
      : device_(device),
        table_memory_(create_memfd(), Segment::Access::write, sizeof(Table)),
        range_(device, reserved, readers_of(device)) {
    table_memory_.grow(sizeof(Table));
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);  // others may take the blocks' files over
    grow(bytes);
  }

  std::byte* data() override { return range_.data(); }

  MemoryHandle handle() const override {
    const TableAddress address{getpid(), table_memory_.file()};
    MemoryHandle handle{};
    handle.may_grow = true;
    std::memcpy(handle.bytes.data(), &address, sizeof address);
    return handle;
  }

  void grow(std::size_t bytes) override {
    if (bytes <= range_.mapped()) return;
    const std::size_t more = round_up(bytes - range_.mapped(), block_granularity(device_));
    if (bytes > range_.reserved()) refuse(bytes, "more than is reserved");
    if (files_.size() == Table::most_blocks) refuse(bytes, "it has grown too many times");
    const CurrentDevice current(device_);
    const CUmemAllocationProp properties = block_properties(device_);
    CUmemGenericAllocationHandle block = 0;
    const CUresult created = driver_memory().create(&block, more, &properties, 0);
    if (created == CUDA_ERROR_OUT_OF_MEMORY) refuse(bytes, "the GPU has no more");
    check_cuda_driver(created);
    FileDescriptor file = file_of(block);
    range_.append(block, more);
    table().blocks[files_.size()] = {more, file.get()};
    files_.push_back(std::move(file));
    std::atomic_ref(table().num_blocks).store(files_.size(), std::memory_order_release);
  }

  void follow() override {}

 private:
  Table& table() { return *reinterpret_cast<Table*>(table_memory_.data()); }

  /// Of a block that is not mapped yet; where it has none, the block ends.
  static FileDescriptor file_of(CUmemGenericAllocationHandle block) {
    int file = -1;
    const CUresult exported =
        driver_memory().export_file(&file, block, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
    if (exported != CUDA_SUCCESS) driver_memory().release(block);
    check_cuda_driver(exported);
    fcntl(file, F_SETFD, FD_CLOEXEC);  // lest programs that are started keep the memory
    return FileDescriptor(file);
  }

  [[noreturn]] static void refuse(std::size_t bytes, const char* reason) {
    throw Error(ErrorKind::out_of_memory,
                "growing shared memory of the GPU to " + std::to_string(bytes) + " bytes: " + reason);
  }

  int device_;
  Segment table_memory_;
  BlockRange range_;
  std::vector<FileDescriptor> files_;  // of the blocks
};

/// A file of another process, whatever it is.
FileDescriptor take_over(pid_t process, int file) {
  const FileDescriptor owner(static_cast<int>(syscall(SYS_pidfd_open, process, 0)));
  const long taken = owner.get() < 0 ? -1 : syscall(SYS_pidfd_getfd, owner.get(), file, 0);
  if (taken < 0) {
    throw Error(ErrorKind::communication, std::string("memory of a GPU of process ") +
                                              std::to_string(process) +
                                              " cannot be taken over: " + std::strerror(errno));
  }
  return FileDescriptor(static_cast<int>(taken));
}

class PeersGrowingMemory : public SharedMemory {
 public:
  PeersGrowingMemory(int device, const MemoryHandle& handle, std::size_t reserved)
      : handle_(handle),
        address_(address_in(handle)),
        table_memory_(open_memfd_of(address_.process, address_.file), Segment::Access::read, sizeof(Table),
                      sizeof(Table)),
        range_(device, reserved,
               {{{CU_MEM_LOCATION_TYPE_DEVICE, {device}}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE}}) {
    follow();
  }

  std::byte* data() override { return range_.data(); }
  MemoryHandle handle() const override { return handle_; }
  void grow(std::size_t) override { throw Error(ErrorKind::internal, "shared memory is grown by its owner"); }

  void follow() override {
    auto& table = *reinterpret_cast<Table*>(table_memory_.data());  // only loaded
    const std::uint64_t count = std::atomic_ref(table.num_blocks).load(std::memory_order_acquire);
    for (; num_blocks_ < count; ++num_blocks_) {
      const Table::Block& block = table.blocks[num_blocks_];
      const FileDescriptor file = take_over(address_.process, block.file);
      CUmemGenericAllocationHandle memory = 0;
      check_cuda_driver(driver_memory().import_file(&memory,
                                                    reinterpret_cast<void*>(std::intptr_t{file.get()}),
                                                    CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
      range_.append(memory, block.bytes);
    }
  }

 private:
  static TableAddress address_in(const MemoryHandle& handle) {
    TableAddress address{};
    std::memcpy(&address, handle.bytes.data(), sizeof address);
    return address;
  }

  MemoryHandle handle_;
  TableAddress address_;
  Segment table_memory_;
  BlockRange range_;
  std::uint64_t num_blocks_ = 0;  // that have been followed
};

bool has(int device, CUdevice_attribute attribute) {
  int value = 0;
  check_cuda_driver(driver_memory().get_attribute(&value, attribute, device));
  return value != 0;
}

}  // namespace

bool can_grow_memory(int device) {
  return has(device, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED) &&
         has(device, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED);
}

std::unique_ptr<SharedMemory> make_growing_memory(int device, std::size_t bytes, std::size_t reserved) {
  return std::make_unique<OwnGrowingMemory>(device, bytes, reserved);
}

std::unique_ptr<SharedMemory> open_growing_memory(int device, const MemoryHandle& handle,
                                                  std::size_t reserved) {
  return std::make_unique<PeersGrowingMemory>(device, handle, reserved);
}

}  // namespace moewe
