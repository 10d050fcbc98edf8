#include "comm/cuda/growing_memory.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <string>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

#include "comm/cuda/check.hpp"
#include "comm/cuda/current_device.hpp"
#include "comm/cuda/driver.hpp"
#include "comm/error.hpp"
#include "comm/shm/segment.hpp"

namespace moewe {
namespace {

/// What is used of the driver.
struct DriverMemory {
  decltype(&cuDeviceGetAttribute) get_attribute;
  decltype(&cuMemAddressReserve) reserve;
  decltype(&cuMemAddressFree) free_addresses;
  decltype(&cuMemGetAllocationGranularity) get_granularity;
  decltype(&cuMemCreate) create;
  decltype(&cuMemRelease) release;
  decltype(&cuMemMap) map;
  decltype(&cuMemUnmap) unmap;
  decltype(&cuMemSetAccess) set_access;
  decltype(&cuMemExportToShareableHandle) export_file;
  decltype(&cuMemImportFromShareableHandle) import_file;
};

template <typename Function>
void find(const char* name, Function& function) {
  function = reinterpret_cast<Function>(driver_function(name));
}

DriverMemory find_driver() {
  DriverMemory driver{};
  find("cuDeviceGetAttribute", driver.get_attribute);
  find("cuMemAddressReserve", driver.reserve);
  find("cuMemAddressFree", driver.free_addresses);
  find("cuMemGetAllocationGranularity", driver.get_granularity);
  find("cuMemCreate", driver.create);
  find("cuMemRelease", driver.release);
  find("cuMemMap", driver.map);
  find("cuMemUnmap", driver.unmap);
  find("cuMemSetAccess", driver.set_access);
  find("cuMemExportToShareableHandle", driver.export_file);
  find("cuMemImportFromShareableHandle", driver.import_file);
  return driver;
}

const DriverMemory& driver() {
  static const DriverMemory found = find_driver();
  return found;
}

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

constexpr std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

CUmemAllocationProp properties_of(int device) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = device;
  return properties;
}

std::size_t granularity_of(int device) {
  const CUmemAllocationProp properties = properties_of(device);
  std::size_t bytes = 0;
  check_cuda_driver(driver().get_granularity(&bytes, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED));
  return bytes;
}

/// Those of the process that address memory of this one, itself included.
std::vector<CUmemAccessDesc> readers_of(int device) {
  int count = 0;
  check_cuda(cudaGetDeviceCount(&count));
  std::vector<CUmemAccessDesc> readers;
  for (int other = 0; other < count; ++other) {
    int can_access = other == device ? 1 : 0;
    if (other != device) check_cuda(cudaDeviceCanAccessPeer(&can_access, other, device));
    if (can_access != 0)
      readers.push_back({{CU_MEM_LOCATION_TYPE_DEVICE, {other}}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE});
  }
  return readers;
}

/// Reserved addresses with blocks at their beginning.
class BlockRange {
 public:
  BlockRange(int device, std::size_t reserved, std::vector<CUmemAccessDesc> readers)
      : device_(device), readers_(std::move(readers)) {
    const CurrentDevice current(device_);
    check_cuda(cudaFree(nullptr));  // the driver wants a context
    reserved_ = round_up(reserved, granularity_of(device_));
    check_cuda_driver(driver().reserve(&begin_, reserved_, 0, 0, 0));
  }
  ~BlockRange() {
    if (mapped_ > 0) driver().unmap(begin_, mapped_);
    driver().free_addresses(begin_, reserved_);
  }
  BlockRange(const BlockRange&) = delete;
  BlockRange& operator=(const BlockRange&) = delete;

  std::byte* data() const { return reinterpret_cast<std::byte*>(begin_); }
  std::size_t mapped() const { return mapped_; }
  std::size_t reserved() const { return reserved_; }

  /// Takes the block over, also where it fails.
  void append(CUmemGenericAllocationHandle block, std::size_t bytes) {
    const CurrentDevice current(device_);
    const CUresult mapping = driver().map(begin_ + mapped_, bytes, 0, block, 0);
    driver().release(block);  // the mapping keeps it
    check_cuda_driver(mapping);
    const CUresult access = driver().set_access(begin_ + mapped_, bytes, readers_.data(), readers_.size());
    if (access != CUDA_SUCCESS) driver().unmap(begin_ + mapped_, bytes);
    check_cuda_driver(access);
    mapped_ += bytes;
  }

 private:
  int device_;
  std::vector<CUmemAccessDesc> readers_;
  std::size_t reserved_ = 0;
  std::size_t mapped_ = 0;
  CUdeviceptr begin_ = 0;
};

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
    const std::size_t more = round_up(bytes - range_.mapped(), granularity_of(device_));
    if (bytes > range_.reserved() || files_.size() == Table::most_blocks) refuse(bytes);
    const CurrentDevice current(device_);
    const CUmemAllocationProp properties = properties_of(device_);
    CUmemGenericAllocationHandle block = 0;
    const CUresult created = driver().create(&block, more, &properties, 0);
    if (created == CUDA_ERROR_OUT_OF_MEMORY) refuse(bytes);
    check_cuda_driver(created);
    int file = -1;
    const CUresult exported = driver().export_file(&file, block, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
    FileDescriptor owner(file);
    range_.append(block, more);
    check_cuda_driver(exported);
    table().blocks[files_.size()] = {more, file};
    files_.push_back(std::move(owner));
    std::atomic_ref(table().num_blocks).store(files_.size(), std::memory_order_release);
  }

  void follow() override {}

 private:
  Table& table() { return *reinterpret_cast<Table*>(table_memory_.data()); }

  [[noreturn]] static void refuse(std::size_t bytes) {
    throw Error(ErrorKind::out_of_memory,
                "growing shared memory of the GPU to " + std::to_string(bytes) + " bytes");
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
      check_cuda_driver(driver().import_file(&memory, reinterpret_cast<void*>(std::intptr_t{file.get()}),
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
  check_cuda_driver(driver().get_attribute(&value, attribute, device));
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
