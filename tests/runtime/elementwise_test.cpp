#include "runtime/kernels/elementwise.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <gtest/gtest.h>
#include <limits>
#include <numbers>
#include <vector>

#include "tests/support/generated_model.hpp"

namespace moewe {
namespace {

using test::random_floats;

constexpr Activation activations[] = {Activation::silu, Activation::gelu, Activation::relu};

constexpr float infinity = std::numeric_limits<float>::infinity();
const float nan = std::numeric_limits<float>::quiet_NaN();

/// Finite values of both signs and every exponent, the smallest and largest among them, and both zeros.
std::vector<float> values_of_every_exponent() {
  std::vector<float> values{0.0F, -0.0F};
  for (std::uint32_t exponent = 0; exponent < 255; ++exponent) {
    for (const std::uint32_t mantissa : {0x000001U, 0x2AAAAAU, 0x400000U, 0x7FFFFFU}) {
      const float value = std::bit_cast<float>(exponent << 23U | mantissa);
      values.insert(values.end(), {value, -value});
    }
  }
  for (const float value : random_floats(20'000, 1)) values.push_back(value * 8);
  return values;
}

double activated(Activation activation, double t) {
  switch (activation) {
    case Activation::silu:
      return t / (1 + std::exp(-t));
    case Activation::gelu: {
      const double u = std::sqrt(2 / std::numbers::pi) * (t + 0.044715 * t * t * t);
      return t / (1 + std::exp(-2 * u));
    }
    case Activation::relu:
      return t > 0 ? t : 0;
  }
  return 0;
}

/// Within the error that elementwise.hpp states, or f32's smallest steps.
void expect_close(Activation activation, float t, float value, double factor) {
  const double expected = activated(activation, t) * factor;
  if (std::abs(expected) > std::numeric_limits<float>::max()) return;
  const double relative = activation == Activation::gelu ? 2e-5 : 1e-6;
  const double allowed = std::max(
      {relative * std::abs(expected), 2e-38 * std::abs(t * factor), 1e-44 * std::max(1.0, std::abs(factor))});
  EXPECT_NEAR(value, expected, allowed) << "activation " << static_cast<int>(activation) << " of " << t;
}

TEST(Elementwise, ActivationsAreCloseToDoubleOverTheWholeRange) {
  const std::vector<float> t = values_of_every_exponent();
  for (const Activation activation : activations) {
    std::vector<float> hidden(t.size());
    activate(activation, t, hidden);
    for (std::size_t i = 0; i < t.size(); ++i) expect_close(activation, t[i], hidden[i], 1);
  }
}

TEST(Elementwise, GatedActivationsAreMultipliedByUp) {
  const std::vector<float> gate = values_of_every_exponent();
  const std::vector<float> up = random_floats(gate.size(), 2);
  for (const Activation activation : activations) {
    std::vector<float> hidden(gate.size());
    activate_gated(activation, gate, up, hidden);
    for (std::size_t i = 0; i < gate.size(); ++i) expect_close(activation, gate[i], hidden[i], up[i]);
  }
}

TEST(Elementwise, EachValueDependsOnItsOwnPlaceOnly) {
  // Vectorised loops treat the ends of a span in another way than its middle.
  const std::vector<float> gate = random_floats(100, 3);
  const std::vector<float> up = random_floats(100, 4);
  for (const Activation activation : activations) {
    std::vector<float> all(100);
    activate_gated(activation, gate, up, all);
    for (std::size_t length = 1; length <= 40; ++length) {
      std::vector<float> part(length);
      activate_gated(activation, std::span(gate).subspan(7, length), std::span(up).subspan(7, length), part);
      EXPECT_EQ(part,
                std::vector<float>(all.begin() + 7, all.begin() + 7 + static_cast<std::ptrdiff_t>(length)));
    }
  }
}

TEST(Elementwise, ResultsMayTakeThePlaceOfTheirArguments) {
  const std::vector<float> gate = random_floats(1003, 3);
  const std::vector<float> up = random_floats(1003, 4);
  for (const Activation activation : activations) {
    std::vector<float> gated(1003), plain(1003), in_gate = gate, in_up = up;
    activate_gated(activation, gate, up, gated);
    activate_gated(activation, in_gate, up, in_gate);
    EXPECT_EQ(in_gate, gated);
    activate(activation, up, plain);
    activate(activation, in_up, in_up);
    EXPECT_EQ(in_up, plain);
  }
}

TEST(Elementwise, EveryBf16SurvivesTheWayThroughF32) {
  std::vector<Bf16> all(1U << 16U);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<Bf16>(i);
  std::vector<float> wide(all.size());
  widen_bf16(all, wide);
  std::vector<Bf16> back(all.size());
  round_to_bf16(wide, back);
  std::vector<float> in_place = wide;
  round_in_place_to_bf16(in_place);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (std::isnan(wide[i])) {
      EXPECT_TRUE(std::isnan(widen(back[i])) && std::isnan(in_place[i])) << i;
    } else {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(wide[i]), i << 16U);
      EXPECT_EQ(back[i], all[i]);
      EXPECT_EQ(std::bit_cast<std::uint32_t>(in_place[i]), std::bit_cast<std::uint32_t>(wide[i]));
    }
  }
}

/// The nearest of the two bf16 around a finite value, found by distance.
float nearest_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const float below = std::bit_cast<float>(bits & 0xFFFF0000U);
  const float above = std::bit_cast<float>((bits & 0xFFFF0000U) + 0x10000U);
  // The step beyond the largest bf16 counts as if exponents went on.
  const double end =
      std::isinf(above) ? std::copysign(std::ldexp(1.0, 128), value) : static_cast<double>(above);
  const double to_below = std::abs(static_cast<double>(value) - below);
  const double to_above = std::abs(end - value);
  if (to_below != to_above) return to_below < to_above ? below : above;
  return (bits & 0x10000U) == 0 ? below : above;
}

TEST(Elementwise, RoundsToTheNearestBf16AndTiesToEven) {
  std::vector<float> values = values_of_every_exponent();
  for (std::uint32_t upper = 0; upper < 0x7F80U; upper += 37) {  // just below, at and above ties
    for (const std::uint32_t lower : {0x0000U, 0x0001U, 0x7FFFU, 0x8000U, 0x8001U, 0xFFFFU}) {
      const float value = std::bit_cast<float>(upper << 16U | lower);
      values.insert(values.end(), {value, -value});
    }
  }
  std::vector<Bf16> rounded(values.size());
  round_to_bf16(values, rounded);
  std::vector<float> in_place = values;
  round_in_place_to_bf16(in_place);
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(widen(rounded[i]), nearest_bf16(values[i])) << values[i];
    ASSERT_EQ(std::signbit(widen(rounded[i])), std::signbit(values[i]));
    ASSERT_EQ(in_place[i], widen(rounded[i]));
    ASSERT_EQ(round_to_bf16(values[i]), rounded[i]);
  }
}

TEST(Elementwise, NanAndInfinityStayWhatTheyAreInBf16) {
  const float quiet_only_below = std::bit_cast<float>(0x7F800001U);  // its payload is in the lower half alone
  const float all_ones = std::bit_cast<float>(0xFFFFFFFFU);
  const std::vector<float> values{nan, -nan, quiet_only_below, all_ones, infinity, -infinity};
  std::vector<Bf16> rounded(values.size());
  round_to_bf16(values, rounded);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(std::isnan(widen(rounded[i]))) << i;
  EXPECT_EQ(widen(rounded[4]), infinity);
  EXPECT_EQ(widen(rounded[5]), -infinity);
}

TEST(Elementwise, AddsWeightedRowsWithOneRoundingForEachOperation) {
  for (const std::size_t length : {1U, 15U, 64U, 1003U}) {
    const std::vector<float> row = random_floats(length, 5);
    const std::vector<float> before = random_floats(length, 6);
    std::vector<float> expected(length), sum = before;
    for (std::size_t i = 0; i < length; ++i) {
      const volatile float product = 0.3F * row[i];  // not contracted into the addition
      expected[i] = before[i] + product;
    }
    add_weighted(0.3F, row.data(), sum);
    EXPECT_EQ(sum, expected);
  }
}

}  // namespace
}  // namespace moewe
