#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <span>

#include "runtime/kernels/quantise_rows.hpp"
#include "tests/gpu/quantise_run.hpp"

namespace moewe {
namespace {

E4m3 code(int bits) { return static_cast<E4m3>(bits); }

/// By the definition: (-1)^sign * 1.mantissa * 2^(exponent - 7), without the leading 1 where the exponent is
/// 0.
double defined_value(int bits) {
  const int exponent = (bits >> 3) & 15;
  const int mantissa = bits & 7;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return bits >= 128 ? -magnitude : magnitude;
}

TEST(E4m3, HasTheValuesOfItsDefinition) {
  for (int bits = 0; bits < 256; ++bits) {
    if ((bits & 127) == 127) {
      EXPECT_TRUE(std::isnan(to_f32(code(bits))));
    } else {
      EXPECT_EQ(to_f32(code(bits)), defined_value(bits)) << bits;
      EXPECT_EQ(std::signbit(to_f32(code(bits))), bits >= 128);
    }
  }
}

TEST(E4m3, RoundsToTheNearestAndTiesToEven) {
  for (int bits = 0; bits < 126; ++bits) {
    const float low = to_f32(code(bits));
    const float high = to_f32(code(bits + 1));
    const float middle = (low + high) / 2;
    const int even = bits % 2 == 0 ? bits : bits + 1;
    EXPECT_EQ(to_e4m3(low), code(bits));
    EXPECT_EQ(to_e4m3(std::nextafter(middle, 0.0F)), code(bits));
    EXPECT_EQ(to_e4m3(middle), code(even)) << bits;
    EXPECT_EQ(to_e4m3(std::nextafter(middle, 1e9F)), code(bits + 1));
    EXPECT_EQ(to_e4m3(-middle), code(even | 128));
  }
}

TEST(E4m3, SaturatesAndKeepsNan) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const float large : {448.0F, 449.0F, 480.0F, 1e30F, infinity}) {
    EXPECT_EQ(to_e4m3(large), code(126));
    EXPECT_EQ(to_e4m3(-large), code(254));
  }
  EXPECT_EQ(to_e4m3(std::numeric_limits<float>::quiet_NaN()), code(127));
}

float value_at(const test::QuantiseCase& c, const std::vector<std::byte>& bytes, std::size_t i) {
  if (c.dtype == Dtype::f32) return reinterpret_cast<const float*>(bytes.data())[i];
  return widen(reinterpret_cast<const Bf16*>(bytes.data())[i]);
}

TEST(QuantiseRows, UsesTheWholeRangeOfEachBlockAndComesBackNear) {
  const auto device = choose_device(DeviceChoice::cpu, 0).device;
  for (const test::QuantiseCase& c : test::quantise_cases()) {
    const test::QuantiseResult result = test::run(c, *device);
    const auto per_row = scales_of(static_cast<std::uint32_t>(c.hidden));
    std::vector<float> largest(result.scales.size(), 0.0F);
    for (std::size_t i = 0; i < c.f32.size(); ++i) {
      const float x = c.dtype == Dtype::f32 ? c.f32[i] : widen(c.bf16[i]);
      const std::size_t block = i / c.hidden * per_row + i % c.hidden / scale_block;
      // Half a unit in the last of four places, and below 2^-6 half of the smallest; bf16 rounds once more.
      const float allowed = std::max(std::abs(x) / 16, result.scales[block] / 1024) + std::abs(x) / 256;
      EXPECT_LE(std::abs(value_at(c, result.back, i) - x), allowed)
          << "value " << i << " of width " << c.hidden;
      largest[block] = std::max(largest[block], std::abs(x));
    }
    for (std::size_t block = 0; block < largest.size(); ++block) {
      if (largest[block] > 0.0F && largest[block] < 1e-35F) continue;
      EXPECT_EQ(result.scales[block], largest[block] > 0.0F ? largest[block] / 448 : 1.0F);
    }
  }
}

}  // namespace
}  // namespace moewe
