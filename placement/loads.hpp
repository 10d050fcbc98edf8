#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace moewe {

/// The sum of `loads`. Throws InvalidInput unless there are `num_experts` of them, none is negative and they
/// sum to max_total_load (placement/split.hpp) at most; `what` begins the message.
std::int64_t checked_total(std::span<const std::int64_t> loads, std::size_t num_experts, const char* what);

/// a / b, rounded up, of numbers that are not negative.
constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// The largest rank load within `target` millionths of the mean, but the mean rounded up at least.
std::int64_t largest_allowed(std::int64_t total, std::int64_t target, std::size_t num_ranks);

struct QuotientAndRest {
  std::int64_t quotient;
  std::int64_t rest;
};

/// a * b / c, where all are at most max_total_load, b at most c, and c is not 0.
constexpr QuotientAndRest multiply_and_divide(std::int64_t a, std::int64_t b, std::int64_t c) {
  constexpr std::int64_t base = std::int64_t{1} << 20U;
  const std::int64_t upper = (a / base) * b;
  const std::int64_t lower = (upper % c) * base + (a % base) * b;
  return {(upper / c) * base + lower / c, lower % c};
}

}  // namespace moewe
