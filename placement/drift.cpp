#include "placement/drift.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "placement/draws.hpp"
#include "placement/plan_robust.hpp"

namespace moewe {
namespace {

constexpr std::int64_t one = std::int64_t{1} << 30U;

constexpr std::int64_t square_root(std::int64_t square) {
  std::int64_t root = 0;
  for (std::int64_t bit = std::int64_t{1} << 31U; bit > 0; bit /= 2) {
    if ((root + bit) * (root + bit) <= square) root += bit;
  }
  return root;
}

/// 2^(1/2), 2^(1/4) and so on, times 2^30.
constexpr std::array<std::int64_t, 16> make_roots() {
  std::array<std::int64_t, 16> roots{};
  std::int64_t root = 2 * one;
  for (std::int64_t& r : roots) r = root = square_root(root * one);
  return roots;
}

/// exp(x / 2^16) * 2^16, rounded down, for results below 2^22.
std::int64_t exponential(std::int64_t x) {
  constexpr std::array<std::int64_t, 16> roots = make_roots();
  constexpr std::int64_t log2_e = 94548;  // times 2^16
  const std::int64_t power = (x * log2_e) >> 16U;
  std::int64_t factor = one;
  for (std::size_t i = 0; i < roots.size(); ++i) {
    if (((power >> (15U - i)) & 1) != 0) factor = (factor * roots[i]) >> 30U;
  }
  const std::int64_t shift = 14 - (power >> 16U);
  return shift < 62 ? factor >> static_cast<unsigned>(shift) : 0;
}

}  // namespace

std::vector<std::int64_t> to_common_total(std::vector<std::int64_t> loads, std::int64_t total) {
  std::int64_t sum = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  if (sum == 0) return loads;
  unsigned surplus = 0;
  while (sum >> surplus >= std::int64_t{1} << 32U) ++surplus;
  for (std::int64_t& load : loads) load >>= surplus;
  sum = std::max<std::int64_t>(1, std::accumulate(loads.begin(), loads.end(), std::int64_t{0}));
  for (std::int64_t& load : loads) load = load * total / sum;
  return loads;
}

std::vector<std::vector<std::int64_t>> drift_scenarios(std::span<const std::int64_t> loads,
                                                       std::size_t scenarios, std::uint64_t seed) {
  constexpr std::int64_t least_sd = 3277;  // 0.05 and 0.5, times 2^16
  constexpr std::size_t range_of_sd = 29491;
  const std::vector<std::int64_t> scaled = to_common_total({loads.begin(), loads.end()}, one);
  for (const std::int64_t load : scaled) seed = Draws(seed ^ static_cast<std::uint64_t>(load)).next();
  Draws draws(seed);
  std::vector<std::vector<std::int64_t>> drifted;
  for (std::size_t i = 0; i < scenarios; ++i) {
    const std::int64_t sd = least_sd + static_cast<std::int64_t>(draws.below(range_of_sd));
    std::vector<std::int64_t> scenario;
    for (const std::int64_t load : scaled) {
      scenario.push_back(load * exponential((sd * draws.normal()) >> 16U));
    }
    drifted.push_back(to_common_total(std::move(scenario), one));
  }
  return drifted;
}

}  // namespace moewe
