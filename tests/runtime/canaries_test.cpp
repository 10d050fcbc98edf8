#include "runtime/canaries.hpp"

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "comm/error.hpp"

namespace moewe {
namespace {

TEST(Canaries, EveryByteThatChangesIsFoundWithRegionAndOwner) {
  std::vector<std::byte> segment(500);
  Canaries canaries;
  canaries.plant(segment.data(), 100, "rows");
  canaries.plant(segment.data(), 301, "outputs");
  for (std::size_t i = 0; i < segment.size(); ++i) {
    const bool is_behind_rows = i >= 100 && i < 100 + Canaries::bytes;
    const bool is_behind_outputs = i >= 301 && i < 301 + Canaries::bytes;
    const std::byte before = std::exchange(segment[i], segment[i] ^ std::byte{4});
    std::string text;
    try {
      canaries.check(segment.data(), Rank{6}, 9);
    } catch (const Error& error) {
      text = error.what();
    }
    const std::string region = is_behind_rows ? "rows" : "outputs";
    const std::string expected =
        "audit of round 9: something was written behind the " + region + " in the segment of rank 6";
    EXPECT_EQ(text, is_behind_rows || is_behind_outputs ? expected : "") << i;
    segment[i] = before;
  }
}

TEST(Canaries, OfEarlierRoundsAreForgotten) {
  std::vector<std::byte> segment(200);
  Canaries canaries;
  canaries.plant(segment.data(), 0, "rows");
  canaries.clear();
  segment.assign(200, std::byte{});
  EXPECT_NO_THROW(canaries.check(segment.data(), Rank{0}, 1));
}

}  // namespace
}  // namespace moewe
