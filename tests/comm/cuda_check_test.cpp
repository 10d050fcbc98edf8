#include <gtest/gtest.h>
#include <string>

#include "comm/cuda/check.hpp"
#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr int out_of_memory = 2;
constexpr int invalid_context = 201;

template <typename Check>
std::string expect_error(ErrorKind kind, Check&& check) {
  try {
    check();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

TEST(CudaCheck, CodesOfTheDriverAreNamedAsTheRuntimesAre) {
  check_cuda_driver(0);
  const std::string memory = expect_error(ErrorKind::out_of_memory, [] { check_cuda_driver(out_of_memory); });
  EXPECT_NE(memory.find("'out of memory'"), std::string::npos) << memory;
  const std::string context =
      expect_error(ErrorKind::communication, [] { check_cuda_driver(invalid_context); });
  EXPECT_NE(context.find("'invalid device context'"), std::string::npos) << context;
  EXPECT_NE(context.find("cuda_check_test.cpp"), std::string::npos) << context;
}

}  // namespace
}  // namespace moewe
