#pragma once

#include <span>
#include <vector>

#include "benchmarks/exchange/contest.hpp"
#include "benchmarks/exchange/exchange_case.hpp"

namespace moewe::bench {

/// What y must be, computed without any exchange: for each value the sum that an exact contestant gets bit
/// for bit, and by how much one that rounds partial sums may miss it.
class ExpectedSums {
 public:
  explicit ExpectedSums(const ExchangeCase& exchange);

  /// Values of `y`, [num_tokens, hidden], that are not what they must be.
  std::size_t count_wrong(std::span<const float> y, Combine combine) const;

  /// The same for a contest, which must not outlive this.
  ContestCheck check(Combine combine) const {
    return {sums_.size(), [this, combine](std::span<const float> y) { return count_wrong(y, combine); }};
  }

 private:
  std::vector<float> sums_;
  std::vector<float> tolerances_;
};

}  // namespace moewe::bench
