#include "comm/nccl/nccl_memory.hpp"

#include <cstdlib>
#include <gtest/gtest.h>

namespace moewe {
namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20U;

/// Of 8 GPUs with NVLink each took that much for its first exchange with all (issue 1685 of NCCL).
TEST(NcclMemory, IsOfBuffersForEachPeerOfTheNodeAndChannel) {
  EXPECT_EQ(nccl_bytes({0, false}), 0U);
  EXPECT_EQ(nccl_bytes({7, false}), 7 * 32 * (10 + 2) * mebibyte);
}

TEST(NcclMemory, OfOtherNodesIsSharedByAllPeers) { EXPECT_EQ(nccl_bytes({0, true}), 32 * 4 * mebibyte); }

TEST(NcclMemory, FollowsItsSettings) {
  setenv("NCCL_MAX_CTAS", "6", 1);
  setenv("NCCL_BUFFSIZE", "8388608", 1);
  EXPECT_EQ(nccl_bytes({1, true}), 8 * (14 + 2 + 4) * mebibyte);
  setenv("NCCL_MAX_CTAS", "many", 1);
  unsetenv("NCCL_BUFFSIZE");
  EXPECT_EQ(nccl_bytes({1, false}), 32 * 12 * mebibyte);
  unsetenv("NCCL_MAX_CTAS");
}

}  // namespace
}  // namespace moewe
