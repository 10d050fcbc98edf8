#include "launch/run_device.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <string_view>
#include <vector>

namespace moewe {
namespace {

GpuPlace at(std::string_view id) {
  GpuPlace place{};
  std::copy(id.begin(), id.end(), place.begin());
  return place;
}

TEST(RunDevice, NcclWantsAGpuForEachRank) {
  const Topology topology({0, 0, 1, 1});
  const std::vector<GpuPlace> apart{at("0000:3b:00.0"), at("0000:5e:00.0"), at("0000:3b:00.0"),
                                    at("0000:5e:00.0")};
  EXPECT_EQ(reason_against_nccl(topology, apart), "");
  std::vector<GpuPlace> shared = apart;
  shared[2] = shared[3];
  EXPECT_EQ(reason_against_nccl(topology, shared),
            "--carrier nccl wants a GPU for each rank, and ranks 2 and 3 share the one at 0000:5e:00.0");
}

}  // namespace
}  // namespace moewe
