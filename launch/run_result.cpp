#include "launch/run_result.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace moewe {
namespace {

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

double per_second(double amount, const std::vector<double>& seconds) {
  return sum(seconds) > 0 ? amount / sum(seconds) : 0;
}

}  // namespace

std::int64_t RunResult::computed() const {
  return std::accumulate(computed_per_rank.begin(), computed_per_rank.end(), std::int64_t{0});
}

std::int64_t RunResult::peak_bytes() const {
  return *std::max_element(peak_bytes_per_rank.begin(), peak_bytes_per_rank.end());
}

bool RunResult::passed() const {
  return lost() == 0 && reference.mismatched == 0 && reference.not_finite == 0 &&
         reference.relative_err() <= f32_tolerance && reference.max_weight_err <= f32_tolerance;
}

double percentile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  const auto rank = static_cast<std::size_t>(std::ceil(p * static_cast<double>(values.size())));
  const auto nth = values.begin() + static_cast<std::ptrdiff_t>(std::max<std::size_t>(rank, 1) - 1);
  std::nth_element(values.begin(), nth, values.end());
  return *nth;
}

double mean(const std::vector<double>& values) {
  return values.empty() ? 0 : sum(values) / static_cast<double>(values.size());
}

double RunResult::tokens_per_s() const {
  return per_second(static_cast<double>(tokens) * static_cast<double>(steps), step_times);
}

double RunResult::expert_flops_per_s() const { return per_second(expert_flops, step_times); }

}  // namespace moewe
