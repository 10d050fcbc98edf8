#include "placement/load_drift.hpp"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "comm/error.hpp"
#include "placement/wide.hpp"

namespace moewe {
namespace {

constexpr std::int64_t billion = 1'000'000'000;

std::int64_t sum_of(std::span<const std::int64_t> counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

/// The variance of the difference of an expert's shares, in (parts per billion)^2. `count` is the expert's in
/// both samples.
Wide variance(std::int64_t count, std::int64_t n, std::int64_t m) {
  constexpr unsigned more_bits = 16;
  const Wide spread = ((wide(count) * wide(n + m - count)) << more_bits) / wide(n + m);
  return (spread * ((wide(billion) * wide(billion)) >> more_bits)) / wide(n) / wide(m);
}

}  // namespace

Drift compare_loads(std::span<const std::int64_t> now, std::span<const std::int64_t> before) {
  expects(now.size() == before.size(), "drift is between loads of the same experts");
  const std::int64_t n = sum_of(now);
  const std::int64_t m = sum_of(before);
  Drift drift;
  if (n == 0 || m == 0) return drift;
  Wide variances = 0;
  for (std::size_t expert = 0; expert < now.size(); ++expert) {
    const auto share_now = static_cast<std::int64_t>(wide(now[expert]) * wide(billion) / wide(n));
    const auto share_before = static_cast<std::int64_t>(wide(before[expert]) * wide(billion) / wide(m));
    drift.distance += std::abs(share_now - share_before);
    const Wide v = variance(now[expert] + before[expert], n, m);
    variances += v;
    drift.noise += square_root(v);
  }
  constexpr std::int64_t mean_of_normal = 797'884'561;  // of its absolute value, sqrt(2 / pi), per billion
  constexpr std::int64_t variance_of_normal = 363'380'228;  // 1 - 2 / pi
  drift.distance /= 2;
  drift.noise = static_cast<std::int64_t>(wide(drift.noise) * wide(mean_of_normal) / wide(billion)) / 2;
  drift.spread = square_root(variances * wide(variance_of_normal) / wide(billion)) / 2;
  return drift;
}

}  // namespace moewe
