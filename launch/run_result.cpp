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

std::int64_t sum_of(const std::vector<OverflowReport>& layers,
                    std::vector<std::int64_t> OverflowReport::*counts) {
  std::int64_t sum = 0;
  for (const OverflowReport& layer : layers) {
    sum = std::accumulate((layer.*counts).begin(), (layer.*counts).end(), sum);
  }
  return sum;
}

}  // namespace

std::int64_t RunResult::computed() const {
  return std::accumulate(computed_per_rank.begin(), computed_per_rank.end(), computed_before);
}

std::int64_t RunResult::most(const std::vector<std::int64_t>& bytes_per_rank) {
  return bytes_per_rank.empty() ? 0 : *std::max_element(bytes_per_rank.begin(), bytes_per_rank.end());
}

std::int64_t RunResult::dropped_over_capacity() const {
  return sum_of(overflow, &OverflowReport::over_capacity);
}
std::int64_t RunResult::dropped_without_room() const { return sum_of(overflow, &OverflowReport::no_room); }
std::int64_t RunResult::rerouted() const { return sum_of(overflow, &OverflowReport::rerouted_to); }

bool RunResult::passed() const { return lost() == 0 && reference.within(tolerance); }

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
  return per_second(static_cast<double>(tokens) * static_cast<double>(step_times.size()), step_times);
}

double RunResult::expert_flops_per_s() const { return per_second(expert_flops, step_times); }

}  // namespace moewe
