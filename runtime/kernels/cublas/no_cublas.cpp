// Takes the place of cuBLAS in a build that does without.

#include "comm/error.hpp"
#include "runtime/kernels/cublas/cublas_matmul.hpp"

namespace moewe {

std::string reason_for_no_cublas() {
  return "this build is without cuBLAS; it needs CUDA 12.5 or newer, with cublas_v2.h";
}

std::string cublas_version() { return ""; }

std::unique_ptr<GroupedMatmul> make_cublas_matmul(int, std::byte*) {
  throw Error(ErrorKind::communication, reason_for_no_cublas());
}

}  // namespace moewe
