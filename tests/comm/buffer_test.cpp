#include "comm/buffer.hpp"

#include <cstdint>
#include <gtest/gtest.h>
#include <utility>

#include "comm/error.hpp"

namespace moewe {
namespace {

TEST(MemoryMeter, CountsByNameAndRemembersTheHighest) {
  MemoryMeter meter;
  {
    const Buffer a(meter, "rows", 100);
    const Buffer b(meter, "weights", 50);
    EXPECT_EQ(meter.bytes(), 150U);
  }
  const Buffer c(meter, "rows", 30);
  EXPECT_EQ(meter.bytes(), 30U);
  EXPECT_EQ(meter.peak_bytes(), 150U);
  EXPECT_EQ(meter.by_name().find("rows")->second.bytes, 30U);
  EXPECT_EQ(meter.by_name().find("rows")->second.peak_bytes, 100U);
}

TEST(Buffer, IsAlignedAndCountedOnceWhenMoved) {
  MemoryMeter meter;
  Buffer a(meter, "rows", 3);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.data()) % 64, 0U);
  Buffer b(std::move(a));
  Buffer c;
  c = std::move(b);
  EXPECT_EQ(meter.bytes(), 3U);
  c = Buffer(meter, "rows", 10);
  EXPECT_EQ(meter.bytes(), 10U);
}

TEST(Buffer, ReserveOnlyGrows) {
  MemoryMeter meter;
  Buffer buffer(meter, "rows", 100);
  const std::byte* const before = buffer.data();
  buffer.reserve(meter, "rows", 60);
  EXPECT_EQ(buffer.data(), before);
  buffer.reserve(meter, "rows", 200);
  EXPECT_EQ(buffer.size(), 200U);
  EXPECT_EQ(meter.peak_bytes(), 200U);  // the old memory was given up first
}

TEST(Buffer, SaysWhatCouldNotBeHad) {
  MemoryMeter meter;
  try {
    const Buffer buffer(meter, "expert weights", std::size_t{1} << 60);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::out_of_memory);
    EXPECT_STREQ(error.what(), "no memory for 1152921504606846976 bytes of expert weights");
  }
  EXPECT_EQ(meter.bytes(), 0U);
}

}  // namespace
}  // namespace moewe
