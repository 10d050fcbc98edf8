#pragma once

#include <cublas_v2.h>

namespace moewe {

/// The one of two functions of this name that is in the library.
using CublasGemmEx = cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int,
                                        const void*, const void*, cudaDataType, int, const void*,
                                        cudaDataType, int, const void*, void*, cudaDataType, int,
                                        cublasComputeType_t, cublasGemmAlgo_t);

/// What is used of cuBLAS, which is loaded at the first use.
struct CublasLibrary {
  decltype(&cublasGetProperty) get_property;
  decltype(&cublasGetStatusString) get_status_string;
  decltype(&cublasCreate_v2) create;
  decltype(&cublasDestroy_v2) destroy;
  decltype(&cublasSetStream_v2) set_stream;
  decltype(&cublasSetWorkspace_v2) set_workspace;
  CublasGemmEx gemm_ex;
  decltype(&cublasGemmGroupedBatchedEx) gemm_grouped_batched_ex;
};

/// That of this process. Throws Error(communication), each time, where it cannot be loaded.
const CublasLibrary& cublas_library();

}  // namespace moewe
