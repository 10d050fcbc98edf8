#include "runtime/kernels/cublas/cublas_matmul.hpp"

#include <optional>

#include "comm/cuda/current_device.hpp"
#include "comm/error.hpp"
#include "runtime/kernels/cublas/cublas_groups.hpp"

namespace moewe {
namespace {

/// Ends on the GPU that it was made on, where its queues make it be used.
class MatmulOnDevice : public GroupedMatmul {
 public:
  MatmulOnDevice(int device, std::byte* workspace) : device_(device) {
    const CurrentDevice current(device_);
    groups_.emplace(cublas_library(), workspace, cublas_workspace_bytes);
  }
  ~MatmulOnDevice() override {
    try {
      const CurrentDevice current(device_);
      groups_.reset();
    } catch (const std::exception&) {  // the GPU has failed, and what used it has said so
      return;
    }
  }
  MatmulOnDevice(const MatmulOnDevice&) = delete;
  MatmulOnDevice& operator=(const MatmulOnDevice&) = delete;

  bool enqueue(const MultiplyGroups& work, StreamHandle stream) override {
    return groups_->enqueue(work, stream);
  }
  void throw_failure() const override { groups_->throw_failure(); }

 private:
  int device_;
  std::optional<CublasGroups> groups_;
};

}  // namespace

std::string reason_for_no_cublas() {
  try {
    cublas_library();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

std::string cublas_version() {
  if (!reason_for_no_cublas().empty()) return "";
  int major = 0;
  int minor = 0;
  cublas_library().get_property(MAJOR_VERSION, &major);
  cublas_library().get_property(MINOR_VERSION, &minor);
  return std::to_string(major).append(".").append(std::to_string(minor));
}

std::unique_ptr<GroupedMatmul> make_cublas_matmul(int device, std::byte* workspace) {
  return std::make_unique<MatmulOnDevice>(device, workspace);
}

}  // namespace moewe
