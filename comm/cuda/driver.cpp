#include "comm/cuda/driver.hpp"

#include <cuda_runtime_api.h>
#include <string>

#include "comm/cuda/check.hpp"
#include "comm/error.hpp"

namespace moewe {

void* driver_function(const char* name) {
  constexpr unsigned int interface_version = 12000;
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  check_cuda(
      cudaGetDriverEntryPointByVersion(name, &function, interface_version, cudaEnableDefault, &result));
#else
  static_assert(CUDART_VERSION / 1000 * 1000 == interface_version);
  check_cuda(cudaGetDriverEntryPoint(name, &function, cudaEnableDefault, &result));
#endif
  if (result == cudaDriverEntryPointSuccess && function != nullptr) return function;
  std::string what = "CUDA's driver has no ";
  throw Error(ErrorKind::communication, what.append(name));
}

}  // namespace moewe
