#pragma once

#include <chrono>
#include <cstddef>
#include <vector>

#include "comm/rank.hpp"

namespace moewe::direct {

/// How far apart the caches of ranks are, as seen by how much longer this rank takes to read a line that
/// another has just written than to read it again. That was some 15 ns between cores that share a cache and
/// 120 ns between others; which cores those are changes within seconds on a virtual machine. What goes from
/// one far cache to another is better written past them.
class CacheDistance {
 public:
  explicit CacheDistance(std::size_t num_ranks) : balances_(num_ranks, 0) {}

  /// One reading of a line of that rank's took so much longer than the next.
  void add(Rank rank, std::chrono::steady_clock::duration longer);

  /// That rank's, by most of the latest readings.
  bool is_far(Rank rank) const { return balances_[index(rank)] > 0; }

 private:
  std::vector<int> balances_;  // by rank: above 0 if far readings prevail
};

}  // namespace moewe::direct
