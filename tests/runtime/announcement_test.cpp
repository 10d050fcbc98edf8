#include "runtime/paths/announcement.hpp"

#include <cstring>
#include <gtest/gtest.h>

namespace moewe {
namespace {

Announcement announcement_of(std::uint64_t num_assignments) {
  Announcement announcement{};
  announcement.counts = {7, num_assignments, num_assignments};
  for (std::uint32_t i = 0; i < announcement.manifest.size(); ++i) announcement.manifest[i] = {i, i, i, 0, 1};
  return announcement;
}

TEST(Announcement, TakesTheManifestAlongExactlyWhereItFits) {
  const std::size_t largest = sizeof(Announcement);
  for (const std::size_t most : {std::size_t{1}, std::size_t{24}, std::size_t{300}, largest, 2 * largest}) {
    for (std::uint64_t count = 1; count <= 100; ++count) {
      const bool fits =
          sizeof(Announcement::Counts) + count * sizeof(PlannedAssignment) <= std::min(most, largest);
      EXPECT_EQ(announcement_of(count).holds_manifest(most), fits) << count << " of " << most;
    }
  }
}

TEST(Announcement, IsReadAsItWasWritten) {
  for (const std::uint64_t count : {1U, 13U, 64U, 65U, 1000000U}) {
    const Announcement sent = announcement_of(count);
    const auto bytes = sent.bytes(1U << 20U);
    Announcement received{};
    ASSERT_LE(bytes.size(), sizeof received);
    std::memcpy(&received, bytes.data(), bytes.size());
    EXPECT_EQ(received.counts.num_assignments, count);
    ASSERT_EQ(received.holds_manifest(1U << 20U), count <= 64);
    for (std::size_t i = 0; i < count && count <= 64; ++i) EXPECT_EQ(received.manifest[i].token, i);
  }
}

TEST(Announcement, CountsOfAnySizeDoNotOverflow) {
  EXPECT_FALSE(announcement_of(~std::uint64_t{0}).holds_manifest(1U << 20U));
  EXPECT_EQ(announcement_of(~std::uint64_t{0}).bytes(1U << 20U).size(), sizeof(Announcement::Counts));
}

}  // namespace
}  // namespace moewe
