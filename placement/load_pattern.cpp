#include "placement/load_pattern.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>

#include "comm/error.hpp"
#include "placement/loads.hpp"
#include "placement/split.hpp"

namespace moewe {
namespace {

template <typename Combine>
void combine_into(std::vector<std::int64_t>& sums, std::span<const std::int64_t> counts, Combine&& combine) {
  std::transform(sums.begin(), sums.end(), counts.begin(), sums.begin(), combine);
}

}  // namespace

LoadPattern::LoadPattern(std::size_t num_experts, const PatternOptions& options)
    : options_(options), recent_sum_(num_experts, 0), older_sum_(num_experts, 0), loads_(num_experts, 0) {
  constexpr std::size_t most_steps = std::size_t{1} << 16U;
  if (num_experts == 0) throw InvalidInput("load pattern: there must be an expert at least");
  if (options.recent_steps == 0 || options.recent_steps > options.most_steps ||
      options.most_steps > most_steps) {
    throw InvalidInput(fmt::format("load pattern: {} recent of {} steps must be one at least, and at most {}",
                                   options.recent_steps, options.most_steps, most_steps));
  }
}

bool LoadPattern::add(std::span<const std::int64_t> counts) {
  const std::int64_t total = checked_total(counts, loads_.size(), "load pattern");
  const std::int64_t most = max_total_load / static_cast<std::int64_t>(2 * options_.most_steps + 1);
  if (total > most)
    throw InvalidInput(fmt::format("load pattern: a step has {} assignments, not up to {}", total, most));
  take_in(counts);
  const Drift drift = compare_loads(recent_sum_, older_sum_);
  const bool has_both = recent_.size() == options_.recent_steps &&
                        older_steps_ >= static_cast<std::int64_t>(options_.recent_steps);
  const bool is_other = has_both && drift.is_significant() && drift.excess() >= options_.least_drift;
  if (is_other) begin_anew();
  return is_other;
}

void LoadPattern::take_in(std::span<const std::int64_t> counts) {
  ++age_;
  recent_.emplace_back(counts.begin(), counts.end());
  combine_into(recent_sum_, counts, std::plus<>());
  if (recent_.size() > options_.recent_steps) {
    combine_into(recent_sum_, recent_.front(), std::minus<>());
    combine_into(older_sum_, recent_.front(), std::plus<>());
    recent_.pop_front();
    ++older_steps_;
  }
  if (older_steps_ > static_cast<std::int64_t>(options_.most_steps)) forget_older_half();
  loads_ = older_sum_;
  combine_into(loads_, recent_sum_, std::plus<>());
}

void LoadPattern::forget_older_half() {
  for (std::int64_t& sum : older_sum_) sum /= 2;
  older_steps_ /= 2;
}

/// With the newest step: those before it may be of both patterns.
void LoadPattern::begin_anew() {
  latest_lives_[num_changes_ % latest_lives_.size()] = age_;
  ++num_changes_;
  age_ = 1;
  older_steps_ = 0;
  recent_.erase(recent_.begin(), recent_.end() - 1);
  std::fill(older_sum_.begin(), older_sum_.end(), 0);
  recent_sum_ = loads_ = recent_.back();
}

std::uint64_t LoadPattern::expected_life() const {
  if (num_changes_ == 0) return age_;
  const auto known = std::min<std::size_t>(num_changes_, latest_lives_.size());
  const auto end = latest_lives_.begin() + static_cast<std::ptrdiff_t>(known);
  return std::max(age_, *std::min_element(latest_lives_.begin(), end));
}

}  // namespace moewe
