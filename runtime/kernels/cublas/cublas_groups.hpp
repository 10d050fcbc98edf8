#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "runtime/kernels/cublas/cublas_library.hpp"
#include "runtime/kernels/multiply_groups.hpp"

namespace moewe {

/// cublasGemmGroupedBatchedEx, one group for each matrix, or cublasGemmEx. Both take matrices by columns:
/// rows one behind the other are the columns of inputs and outputs, and weights are transposed.
class CublasGroups : public GroupedMatmul {
 public:
  /// On the current device, which is to be the same in all calls. Library and workspace outlive it. Throws
  /// Error(communication).
  CublasGroups(const CublasLibrary& library, std::byte* workspace, std::size_t workspace_bytes);
  ~CublasGroups() override;
  CublasGroups(const CublasGroups&) = delete;
  CublasGroups& operator=(const CublasGroups&) = delete;

  bool enqueue(const MultiplyGroups& work, StreamHandle stream) override;
  void throw_failure() const override;

 private:
  /// Whether the call succeeded; what it says if not is kept.
  bool is_good(cublasStatus_t status, const char* call);
  bool multiply_together(const MultiplyGroups& work);
  bool multiply_one(const MultiplyGroups& work, std::size_t group);
  std::string describe_failure() const;
  void list_sizes(const MultiplyGroups& work);

  const CublasLibrary& library_;
  std::byte* workspace_;
  std::size_t workspace_bytes_;
  cublasHandle_t handle_ = nullptr;
  cublasStatus_t status_ = CUBLAS_STATUS_SUCCESS;
  const char* failed_call_ = "";

  // Of the call that is being made, one element for each group.
  std::vector<cublasOperation_t> transposed_, as_they_are_;
  std::vector<int> out_, rows_, in_, ones_;
  std::vector<float> alpha_, beta_;
};

}  // namespace moewe
