#include "tests/gpu/kernel_rates.hpp"

#ifdef MOEWE_TESTS_HAVE_CUBLAS
#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include "runtime/dtype.hpp"
#endif

namespace moewe::test {

#ifdef MOEWE_TESTS_HAVE_CUBLAS

double dense_rate(Device& device) {
  constexpr int side = 8192;
  constexpr int runs = 20;
  constexpr std::size_t bytes = std::size_t{side} * side * sizeof(Bf16);
  DeviceWork work(device);
  auto* const a = work.room<std::byte>(bytes);
  auto* const c = work.room<std::byte>(bytes);
  work.queue().fill(a, 0x3C, bytes);
  work.wait();
  cublasHandle_t handle = nullptr;
  if (cublasCreate(&handle) != CUBLAS_STATUS_SUCCESS) return 0;
  const float one = 1, zero = 0;
  const auto multiply = [&] {
    return cublasGemmEx(handle, CUBLAS_OP_T, CUBLAS_OP_N, side, side, side, &one, a, CUDA_R_16BF, side, a,
                        CUDA_R_16BF, side, &zero, c, CUDA_R_16BF, side, CUBLAS_COMPUTE_32F,
                        CUBLAS_GEMM_DEFAULT);
  };
  bool is_good = multiply() == CUBLAS_STATUS_SUCCESS && cudaDeviceSynchronize() == cudaSuccess;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < runs; ++i) is_good = is_good && multiply() == CUBLAS_STATUS_SUCCESS;
  is_good = is_good && cudaDeviceSynchronize() == cudaSuccess;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / runs;
  cublasDestroy(handle);
  return is_good ? 2.0 * side * side * side / seconds * 1e-12 : 0;
}

#else

double dense_rate(Device&) { return 0; }

#endif

}  // namespace moewe::test
