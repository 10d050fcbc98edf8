#include "runtime/paths/cache_distance.hpp"

#include <algorithm>

namespace moewe::direct {
namespace {

constexpr std::chrono::nanoseconds least_far{60};  // between what near and far cores take
constexpr int most_balance = 8;                    // so many readings change a mind that is made up

}  // namespace

void CacheDistance::add(Rank rank, std::chrono::steady_clock::duration longer) {
  int& balance = balances_[index(rank)];
  const bool was_far = balance > 0;
  balance = std::clamp(balance + (longer >= least_far ? 1 : -1), -most_balance, most_balance);
  const bool is_far_now = balance > 0;
  if (is_far_now && !was_far) ++num_far_;
  if (was_far && !is_far_now) --num_far_;
}

}  // namespace moewe::direct
