#include "runtime/kernels/cublas/cublas_library.hpp"

#include "comm/loaded_library.hpp"

namespace moewe {
namespace {

/// Where the system finds it, else where it was when this was built.
CublasLibrary load() {
  const LoadedLibrary library("cuBLAS", {MOEWE_CUBLAS_FILE, MOEWE_CUBLAS_LIBRARY});
  CublasLibrary cublas{};
  library.find("cublasGetProperty", cublas.get_property);
  library.find("cublasGetStatusString", cublas.get_status_string);
  library.find("cublasCreate_v2", cublas.create);
  library.find("cublasDestroy_v2", cublas.destroy);
  library.find("cublasSetStream_v2", cublas.set_stream);
  library.find("cublasSetWorkspace_v2", cublas.set_workspace);
  library.find("cublasGemmEx", cublas.gemm_ex);
  library.find("cublasGemmGroupedBatchedEx", cublas.gemm_grouped_batched_ex);
  return cublas;
}

}  // namespace

const CublasLibrary& cublas_library() {
  static const CublasLibrary library = load();
  return library;
}

}  // namespace moewe
