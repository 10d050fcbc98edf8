#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace moewe::test {

/// Steps of one layer: multinomial draws from lognormal loads.
class DrawnLoads {
 public:
  /// Uniform where sigma is 0.
  DrawnLoads(std::size_t num_experts, double sigma, std::uint32_t seed)
      : random_(seed), sigma_(sigma), logs_(num_experts) {
    for (double& value : logs_) value = normal_(random_);
  }

  /// An abrupt change: log loads correlate with those before.
  void change(double correlation) {
    for (double& value : logs_)
      value = correlation * value + std::sqrt(1 - correlation * correlation) * normal_(random_);
  }

  /// Assignments per expert of one step.
  std::vector<std::int64_t> draw(std::int64_t assignments) {
    double left = 0;
    for (const double value : logs_) left += std::exp(sigma_ * value);
    std::vector<std::int64_t> loads;
    for (const double value : logs_) {
      const double share = std::min(1.0, std::exp(sigma_ * value) / left);
      loads.push_back(std::binomial_distribution<std::int64_t>(assignments, share)(random_));
      assignments -= loads.back();
      left -= std::exp(sigma_ * value);
    }
    loads.back() += assignments;
    return loads;
  }

 private:
  std::mt19937 random_;
  std::normal_distribution<double> normal_;
  double sigma_;
  std::vector<double> logs_;
};

}  // namespace moewe::test
