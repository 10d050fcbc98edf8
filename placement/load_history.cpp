#include "placement/load_history.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "comm/error.hpp"
#include "placement/loads.hpp"
#include "placement/split.hpp"

namespace moewe {
namespace {

constexpr std::size_t least_windows = 2;
constexpr std::size_t most_windows = 4096;
constexpr unsigned most_shift = 15;
constexpr std::size_t most_sources = 1 << 16;

LoadTable zeros(std::size_t num_layers, std::size_t num_experts) {
  return LoadTable(num_layers, std::vector<std::int64_t>(num_experts, 0));
}

void check_options(const HistoryOptions& options) {
  if (options.num_windows < least_windows || options.num_windows > most_windows) {
    throw InvalidInput(fmt::format("load history: {} windows must be from {} to {}", options.num_windows,
                                   least_windows, most_windows));
  }
  if (options.fast_shift > most_shift || options.slow_shift > most_shift) {
    throw InvalidInput(fmt::format("load history: shifts {} and {} must be at most {}", options.fast_shift,
                                   options.slow_shift, most_shift));
  }
}

void check_shape(const LoadTable& table, std::size_t num_layers, std::size_t num_experts) {
  const bool fits =
      table.size() == num_layers &&
      std::all_of(table.begin(), table.end(), [&](const auto& layer) { return layer.size() == num_experts; });
  if (!fits) {
    throw InvalidInput(fmt::format("load history: a table of loads is not [{} layers][{} experts]",
                                   num_layers, num_experts));
  }
}

void check_table(const LoadTable& table, std::size_t num_layers, std::size_t num_experts) {
  check_shape(table, num_layers, num_experts);
  for (const auto& layer : table) checked_total(layer, num_experts, "load history");
}

void check_average(const LoadTable& table, std::size_t num_layers, std::size_t num_experts) {
  check_shape(table, num_layers, num_experts);
  constexpr std::int64_t most = max_total_load * LoadHistory::parts;
  for (const auto& layer : table) {
    for (const std::int64_t value : layer) {
      if (value < 0 || value > most)
        throw InvalidInput(fmt::format("load history: an average is {}, not from 0 to {}", value, most));
    }
  }
}

void check_none(const LoadTable& total) {
  for (const auto& layer : total) {
    if (std::any_of(layer.begin(), layer.end(), [](std::int64_t count) { return count > 0; }))
      throw InvalidInput("load history: there are loads, and no window that they came in");
  }
}

/// `what` are parts of all windows together.
template <typename Tables>
void check_parts(const Tables& parts, const LoadTable& total, const char* what) {
  for (std::size_t layer = 0; layer < total.size(); ++layer) {
    for (std::size_t expert = 0; expert < total[layer].size(); ++expert) {
      std::int64_t left = total[layer][expert];
      for (const LoadTable& part : parts) {
        left -= std::min(left + 1, part[layer][expert]);
        if (left < 0) {
          throw InvalidInput(fmt::format("load history: {} have more of layer {}'s expert {} than {} in all",
                                         what, layer, expert, total[layer][expert]));
        }
      }
    }
  }
}

template <typename Combine>
void combine_into(LoadTable& table, const LoadTable& window, Combine&& combine) {
  for (std::size_t layer = 0; layer < table.size(); ++layer) {
    std::transform(table[layer].begin(), table[layer].end(), window[layer].begin(), table[layer].begin(),
                   combine);
  }
}

void add_to(LoadTable& table, const LoadTable& window) {
  combine_into(table, window, [](std::int64_t sum, std::int64_t count) { return sum + count; });
}

void move_average(LoadTable& average, const LoadTable& window, unsigned shift) {
  combine_into(average, window, [&](std::int64_t mean, std::int64_t count) {
    return mean + (count * LoadHistory::parts - mean) / (std::int64_t{1} << shift);
  });
}

}  // namespace

LoadHistory::LoadHistory(std::size_t num_layers, std::size_t num_experts, const HistoryOptions& options)
    : LoadHistory(State{options,
                        0,
                        zeros(num_layers, num_experts),
                        zeros(num_layers, num_experts),
                        zeros(num_layers, num_experts),
                        {},
                        std::vector<LoadTable>(std::min(options.num_sources, most_sources),
                                               zeros(num_layers, num_experts))}) {}

LoadHistory::LoadHistory(State state)
    : options_(state.options),
      num_windows_seen_(state.num_windows_seen),
      total_(std::move(state.total)),
      fast_(std::move(state.fast)),
      slow_(std::move(state.slow)),
      windows_(std::move(state.windows)),
      by_source_(std::move(state.by_source)) {
  check_options(options_);
  if (total_.empty() || total_.front().empty())
    throw InvalidInput("load history: there must be a layer and an expert at least");
  check_table(total_, num_layers(), num_experts());
  for (const LoadTable& window : windows_) check_table(window, num_layers(), num_experts());
  for (const LoadTable* average : {&fast_, &slow_}) check_average(*average, num_layers(), num_experts());
  if (by_source_.size() != options_.num_sources) {
    throw InvalidInput(
        fmt::format("load history: {} sources are kept, not {}", by_source_.size(), options_.num_sources));
  }
  for (const LoadTable& source : by_source_) check_table(source, num_layers(), num_experts());
  const std::uint64_t most = std::min<std::uint64_t>(options_.num_windows, num_windows_seen_);
  if (windows_.size() != most) {
    throw InvalidInput(fmt::format("load history: {} windows are kept, not the last {} of {}",
                                   windows_.size(), most, num_windows_seen_));
  }
  check_parts(windows_, total_, "windows");
  check_parts(by_source_, total_, "sources");
  if (num_windows_seen_ == 0) check_none(total_);
}

void LoadHistory::add(const LoadTable& window) {
  if (options_.num_sources != 0) throw InvalidInput("load history: a window comes without its sources");
  add_window(window);
}

void LoadHistory::add_by_source(std::span<const LoadTable> of_source) {
  if (options_.num_sources == 0 || of_source.size() != options_.num_sources) {
    throw InvalidInput(fmt::format("load history: a window comes from {} sources, not {}", of_source.size(),
                                   options_.num_sources));
  }
  LoadTable window = zeros(num_layers(), num_experts());
  for (const LoadTable& source : of_source) {
    check_table(source, num_layers(), num_experts());
    add_to(window, source);
    check_table(window, num_layers(), num_experts());
  }
  add_window(window);
  for (std::size_t i = 0; i < of_source.size(); ++i) add_to(by_source_[i], of_source[i]);
}

void LoadHistory::add_window(const LoadTable& window) {
  check_table(window, num_layers(), num_experts());
  LoadTable total = total_;
  add_to(total, window);
  check_table(total, num_layers(), num_experts());
  total_ = std::move(total);
  const bool is_first = num_windows_seen_ == 0;
  move_average(fast_, window, is_first ? 0 : options_.fast_shift);
  move_average(slow_, window, is_first ? 0 : options_.slow_shift);
  windows_.push_back(window);
  if (windows_.size() > options_.num_windows) windows_.pop_front();
  ++num_windows_seen_;
}

Drift LoadHistory::drift(std::size_t layer) const {
  expects(layer < num_layers(), "drift is asked of a layer that there is");
  const std::size_t num_new = std::max<std::size_t>(1, windows_.size() / 4);
  std::vector<std::int64_t> now(num_experts(), 0);
  std::vector<std::int64_t> before(num_experts(), 0);
  for (std::size_t i = 0; i < windows_.size(); ++i) {
    std::vector<std::int64_t>& sum = i + num_new < windows_.size() ? before : now;
    for (std::size_t expert = 0; expert < sum.size(); ++expert) sum[expert] += windows_[i][layer][expert];
  }
  return compare_loads(now, before);
}

}  // namespace moewe
