#include "comm/cuda/block_range.hpp"

#include <cuda_runtime_api.h>
#include <utility>

#include "comm/cuda/check.hpp"
#include "comm/cuda/current_device.hpp"
#include "comm/cuda/driver.hpp"

namespace moewe {
namespace {

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

}  // namespace

const DriverMemory& driver_memory() {
  static const DriverMemory found = find_driver();
  return found;
}

CUmemAllocationProp block_properties(int device) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = device;
  return properties;
}

std::size_t block_granularity(int device) {
  const CUmemAllocationProp properties = block_properties(device);
  std::size_t bytes = 0;
  check_cuda_driver(
      driver_memory().get_granularity(&bytes, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED));
  return bytes;
}

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

BlockRange::BlockRange(int device, std::size_t reserved, std::vector<CUmemAccessDesc> readers)
    : device_(device), readers_(std::move(readers)) {
  const CurrentDevice current(device_);
  reserved_ = round_up(reserved, block_granularity(device_));
  check_cuda_driver(driver_memory().reserve(&begin_, reserved_, 0, 0, 0));
}

BlockRange::~BlockRange() {
  const CurrentDevice current(device_, std::nothrow);
  if (mapped_ > 0) driver_memory().unmap(begin_, mapped_);
  driver_memory().free_addresses(begin_, reserved_);
}

void BlockRange::append(CUmemGenericAllocationHandle block, std::size_t bytes) {
  const CurrentDevice current(device_);
  const DriverMemory& driver = driver_memory();
  const CUresult mapping = driver.map(begin_ + mapped_, bytes, 0, block, 0);
  driver.release(block);  // the mapping keeps it
  check_cuda_driver(mapping);
  const CUresult access = driver.set_access(begin_ + mapped_, bytes, readers_.data(), readers_.size());
  if (access != CUDA_SUCCESS) driver.unmap(begin_ + mapped_, bytes);
  check_cuda_driver(access);
  mapped_ += bytes;
}

}  // namespace moewe
