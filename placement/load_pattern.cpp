#include "placement/load_pattern.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <numeric>

#include "comm/error.hpp"
#include "placement/loads.hpp"
#include "placement/split.hpp"
#include "placement/wide.hpp"

namespace moewe {
namespace {

constexpr std::int64_t billion = 1'000'000'000;

template <typename Combine>
void combine_into(std::vector<std::int64_t>& sums, std::span<const std::int64_t> counts, Combine&& combine) {
  std::transform(sums.begin(), sums.end(), counts.begin(), sums.begin(), combine);
}

/// Whether the distance between two samples is `share`, of a billion, at least: what is quickly told of most
/// steps.
bool are_apart(std::span<const std::int64_t> now, std::span<const std::int64_t> before, std::int64_t share) {
  const std::int64_t n = std::accumulate(now.begin(), now.end(), std::int64_t{0});
  const std::int64_t m = std::accumulate(before.begin(), before.end(), std::int64_t{0});
  Wide twice = 0;  // times n and m
  for (std::size_t expert = 0; expert < now.size(); ++expert) {
    const Wide a = wide(now[expert]) * wide(m);
    const Wide b = wide(before[expert]) * wide(n);
    twice += a > b ? a - b : b - a;
  }
  return twice * wide(billion) >= 2 * wide(share) * wide(n) * wide(m);
}

}  // namespace

LoadPattern::LoadPattern(std::size_t num_experts, const PatternOptions& options)
    : options_(options), recent_sum_(num_experts, 0), older_sum_(num_experts, 0), loads_(num_experts, 0) {
  constexpr std::size_t most_steps = std::size_t{1} << 16U;
  if (num_experts == 0) throw InvalidInput("load pattern: there must be an expert at least");
  if (options.least_drift < 0 || options.least_drift > billion) {
    throw InvalidInput(
        fmt::format("load pattern: the least drift is {}, not from 0 to {}", options.least_drift, billion));
  }
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
  const bool is_other = has_changed();
  if (is_other) begin_anew();
  return is_other;
}

bool LoadPattern::has_changed() const {
  const bool has_both = recent_.size() == options_.recent_steps &&
                        older_steps_ >= static_cast<std::int64_t>(options_.recent_steps);
  if (!has_both || !are_apart(recent_sum_, older_sum_, options_.least_drift)) return false;
  const Drift drift = compare_loads(recent_sum_, older_sum_);
  return drift.is_significant() && drift.excess() >= options_.least_drift;
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
