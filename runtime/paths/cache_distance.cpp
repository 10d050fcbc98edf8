#include "runtime/paths/cache_distance.hpp"

#include <algorithm>

namespace moewe::direct {
namespace {

constexpr std::chrono::nanoseconds least_far{60};  // between what near and far cores take
constexpr int most_balance = 8;                    // so many readings change a mind that is made up

}  // namespace

void CacheDistance::add(Rank rank, std::chrono::steady_clock::duration longer) {
  int& balance = balances_[index(rank)];
  balance = std::clamp(balance + (longer >= least_far ? 1 : -1), -most_balance, most_balance);
}

}  // namespace moewe::direct
