#include "comm/cuda/current_device.hpp"

#include <cuda.h>
#include <exception>
#include <map>
#include <mutex>
#include <string>

#include "comm/cuda/check.hpp"
#include "comm/cuda/driver.hpp"
#include "comm/log.hpp"

namespace moewe {
namespace {

/// The driver's functions for contexts.
struct DriverContexts {
  CUresult (*init)(unsigned int);
  CUresult (*get_device)(CUdevice*, int);
  CUresult (*retain)(CUcontext*, CUdevice);
  CUresult (*push)(CUcontext);
  CUresult (*pop)(CUcontext*);

  DriverContexts() {
    find("cuInit", init);
    find("cuDeviceGet", get_device);
    find("cuDevicePrimaryCtxRetain", retain);
    find("cuCtxPushCurrent", push);
    find("cuCtxPopCurrent", pop);
  }

 private:
  template <typename Function>
  static void find(const char* name, Function& function) {
    function = reinterpret_cast<Function>(driver_function(name));
  }
};

const DriverContexts& driver_contexts() {
  static const DriverContexts found;
  return found;
}

/// The GPU's primary context, made where it is not there.
CUcontext context_of(int device) {
  static std::mutex mutex;
  static std::map<int, CUcontext> contexts;
  const std::lock_guard lock(mutex);
  const auto found = contexts.find(device);
  if (found != contexts.end()) return found->second;
  const DriverContexts& driver = driver_contexts();
  CUdevice number = 0;
  CUcontext context = nullptr;
  check_cuda_driver(driver.init(0));
  check_cuda_driver(driver.get_device(&number, device));
  check_cuda_driver(driver.retain(&context, number));
  contexts.emplace(device, context);
  return context;
}

}  // namespace

CurrentDevice::CurrentDevice(int device) {
  check_cuda_driver(driver_contexts().push(context_of(device)));
  is_pushed_ = true;
}

CurrentDevice::CurrentDevice(int device, std::nothrow_t) noexcept {
  try {
    check_cuda_driver(driver_contexts().push(context_of(device)));
    is_pushed_ = true;
  } catch (const std::exception& error) {
    log(LogLevel::warning, error.what());
  }
}

CurrentDevice::~CurrentDevice() {
  CUcontext popped = nullptr;
  if (is_pushed_) driver_contexts().pop(&popped);
}

}  // namespace moewe
