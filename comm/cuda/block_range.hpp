#pragma once

#include <cstddef>
#include <cuda.h>
#include <vector>

namespace moewe {

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

/// That of this process, which is asked for at the first use.
const DriverMemory& driver_memory();

/// Of blocks: shared with other processes by files.
CUmemAllocationProp block_properties(int device);

/// Blocks are multiples of these bytes.
std::size_t block_granularity(int device);

constexpr std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

/// The GPUs of the process that address memory of this one, itself included.
std::vector<CUmemAccessDesc> readers_of(int device);

/// Reserved addresses with blocks of memory at their beginning. Throws as check_cuda_driver does.
class BlockRange {
 public:
  BlockRange(int device, std::size_t reserved, std::vector<CUmemAccessDesc> readers);
  ~BlockRange();
  BlockRange(const BlockRange&) = delete;
  BlockRange& operator=(const BlockRange&) = delete;

  std::byte* data() const { return reinterpret_cast<std::byte*>(begin_); }
  std::size_t mapped() const { return mapped_; }
  std::size_t reserved() const { return reserved_; }

  /// Takes the block over, also where it fails.
  void append(CUmemGenericAllocationHandle block, std::size_t bytes);

 private:
  int device_;
  std::vector<CUmemAccessDesc> readers_;
  std::size_t reserved_ = 0;
  std::size_t mapped_ = 0;
  CUdeviceptr begin_ = 0;
};

}  // namespace moewe
