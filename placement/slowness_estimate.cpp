#include "placement/slowness_estimate.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr Millionths one = 1'000'000;
constexpr std::int64_t longest = std::int64_t{1} << 40U;

/// The lower one of two in the middle.
std::int64_t median(std::vector<std::int64_t> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

SlownessEstimate::SlownessEstimate(std::size_t num_ranks, const SlownessOptions& options)
    : options_(options), latest_(num_ranks), medians_(num_ranks, 0) {}

bool SlownessEstimate::add_window(std::span<const std::int64_t> times) {
  const bool is_in_range =
      std::all_of(times.begin(), times.end(), [](std::int64_t time) { return time >= 0 && time <= longest; });
  if (times.size() != medians_.size() || !is_in_range)
    throw InvalidInput(fmt::format("slowness: {} times of {} ranks, each to be from 0 to {}", times.size(),
                                   medians_.size(), longest));
  std::vector<std::int64_t> told;
  std::copy_if(times.begin(), times.end(), std::back_inserter(told),
               [](std::int64_t time) { return time > 0; });
  if (told.size() < 2) return false;
  const std::int64_t usual = median(std::move(told));
  for (std::size_t rank = 0; rank < times.size(); ++rank) {
    if (times[rank] == 0) continue;
    take_in(rank, std::clamp(times[rank] * one / usual, one * one / options_.most, options_.most));
  }
  num_changed_ = has_changed() ? num_changed_ + 1 : 0;
  if (num_changed_ < options_.windows) return false;
  num_changed_ = 0;
  tell();
  return true;
}

void SlownessEstimate::take_in(std::size_t rank, Millionths measured) {
  constexpr std::size_t num_latest = 5;
  std::vector<Millionths>& latest = latest_[rank];
  if (latest.size() == num_latest) latest.erase(latest.begin());
  latest.push_back(measured);
  medians_[rank] = median(latest);
}

bool SlownessEstimate::has_changed() const {
  for (std::size_t rank = 0; rank < medians_.size(); ++rank) {
    if (medians_[rank] == 0) continue;
    const Millionths told = slowness_.empty() ? one : slowness_[rank];
    if (std::abs(medians_[rank] - told) * one > told * options_.least) return true;
    if (told != one && std::abs(medians_[rank] - one) <= options_.alike) return true;
  }
  return false;
}

void SlownessEstimate::tell() {
  slowness_.assign(medians_.size(), one);
  bool are_alike = true;
  for (std::size_t rank = 0; rank < medians_.size(); ++rank) {
    if (medians_[rank] == 0 || std::abs(medians_[rank] - one) <= options_.alike) continue;
    const Millionths rounded = (medians_[rank] + options_.grain / 2) / options_.grain * options_.grain;
    slowness_[rank] = std::max(options_.grain, rounded);
    are_alike = are_alike && slowness_[rank] == one;
  }
  if (are_alike) slowness_.clear();
}

}  // namespace moewe
