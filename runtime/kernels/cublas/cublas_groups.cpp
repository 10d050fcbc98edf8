#include "runtime/kernels/cublas/cublas_groups.hpp"

#include <string>

#include "comm/error.hpp"
#include "comm/log.hpp"

namespace moewe {
namespace {

cudaDataType_t type_of(Dtype dtype) { return dtype == Dtype::f32 ? CUDA_R_32F : CUDA_R_16BF; }

}  // namespace

CublasGroups::CublasGroups(const CublasLibrary& library, std::byte* workspace, std::size_t workspace_bytes)
    : library_(library), workspace_(workspace), workspace_bytes_(workspace_bytes) {
  if (!is_good(library_.create(&handle_), "cublasCreate")) throw_failure();
}

CublasGroups::~CublasGroups() {
  if (is_good(library_.destroy(handle_), "cublasDestroy")) return;
  try {
    log(LogLevel::warning, describe_failure());
  } catch (...) {  // a destructor has nobody left to tell
    return;
  }
}

/// The workspace is set after the stream, with which cuBLAS goes back to its own.
bool CublasGroups::enqueue(const MultiplyGroups& work, StreamHandle stream) {
  if (!is_good(library_.set_stream(handle_, stream), "cublasSetStream") ||
      !is_good(library_.set_workspace(handle_, workspace_, workspace_bytes_), "cublasSetWorkspace")) {
    return false;
  }
  if (work.output_dtype == work.dtype) return multiply_together(work);
  for (std::size_t group = 0; group < work.num_groups; ++group) {
    if (!multiply_one(work, group)) return false;
  }
  return true;
}

bool CublasGroups::multiply_together(const MultiplyGroups& work) {
  list_sizes(work);
  const cudaDataType_t type = type_of(work.dtype);
  const GroupAddresses& there = work.on_device;
  return is_good(library_.gemm_grouped_batched_ex(
                     handle_, transposed_.data(), as_they_are_.data(), out_.data(), rows_.data(), in_.data(),
                     alpha_.data(), reinterpret_cast<const void* const*>(there.weights), type, in_.data(),
                     reinterpret_cast<const void* const*>(there.inputs), type, in_.data(), beta_.data(),
                     reinterpret_cast<void* const*>(there.outputs), type, out_.data(),
                     static_cast<int>(work.num_groups), ones_.data(), CUBLAS_COMPUTE_32F),
                 "cublasGemmGroupedBatchedEx");
}

bool CublasGroups::multiply_one(const MultiplyGroups& work, std::size_t group) {
  const float one = 1;
  const float zero = 0;
  const cudaDataType_t type = type_of(work.dtype);
  const auto out = static_cast<int>(work.out);
  const auto in = static_cast<int>(work.in);
  return is_good(
      library_.gemm_ex(handle_, CUBLAS_OP_T, CUBLAS_OP_N, out, static_cast<int>(work.num_rows[group]), in,
                       &one, work.on_host.weights[group], type, in, work.on_host.inputs[group], type, in,
                       &zero, work.on_host.outputs[group], type_of(work.output_dtype), out,
                       CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
      "cublasGemmEx");
}

void CublasGroups::list_sizes(const MultiplyGroups& work) {
  const std::size_t count = work.num_groups;
  transposed_.assign(count, CUBLAS_OP_T);
  as_they_are_.assign(count, CUBLAS_OP_N);
  out_.assign(count, static_cast<int>(work.out));
  in_.assign(count, static_cast<int>(work.in));
  rows_.assign(work.num_rows, work.num_rows + count);
  ones_.assign(count, 1);
  alpha_.assign(count, 1.0F);
  beta_.assign(count, 0.0F);
}

bool CublasGroups::is_good(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return true;
  status_ = status;
  failed_call_ = call;
  return false;
}

std::string CublasGroups::describe_failure() const {
  std::string what = "cuBLAS reported '";
  return what.append(library_.get_status_string(status_)).append("' in ").append(failed_call_);
}

void CublasGroups::throw_failure() const {
  if (status_ == CUBLAS_STATUS_SUCCESS) return;
  const ErrorKind kind =
      status_ == CUBLAS_STATUS_ALLOC_FAILED ? ErrorKind::out_of_memory : ErrorKind::communication;
  throw Error(kind, describe_failure());
}

}  // namespace moewe
