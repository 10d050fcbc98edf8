#include "placement/history_upkeep.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "placement/split.hpp"

namespace moewe {
namespace {

using Totals = std::vector<std::int64_t>;  // of each layer

Totals totals_of(const LoadTable& table) {
  Totals totals;
  for (const auto& layer : table)
    totals.push_back(std::accumulate(layer.begin(), layer.end(), std::int64_t{0}));
  return totals;
}

/// Whether both together are within the bound; then `sum` becomes what they are.
bool add_within(Totals& sum, const Totals& more) {
  for (std::size_t layer = 0; layer < sum.size(); ++layer) {
    if (more[layer] > max_total_load - sum[layer]) return false;
  }
  std::transform(sum.begin(), sum.end(), more.begin(), sum.begin(), std::plus<>());
  return true;
}

LoadHistory::State state_of(const LoadHistory& history) {
  return {history.options(), history.num_windows_seen(), history.total(),    history.fast(),
          history.slow(),    history.windows(),          history.by_source()};
}

/// Of the newest windows, as many as have room beside `taken`.
std::size_t count_with_room(const LoadHistory& history, Totals taken) {
  const auto& windows = history.windows();
  std::size_t count = 0;
  while (count < windows.size() && add_within(taken, totals_of(windows[windows.size() - 1 - count]))) ++count;
  return count;
}

}  // namespace

LoadHistory with_sources(const LoadHistory& history, std::size_t num_sources) {
  if (history.options().num_sources == num_sources) return history;
  const LoadTable none(history.num_layers(), std::vector<std::int64_t>(history.num_experts(), 0));
  LoadHistory::State state = state_of(history);
  state.options.num_sources = num_sources;
  state.by_source.assign(num_sources, none);
  return LoadHistory(std::move(state));
}

LoadHistory with_newest_windows(const LoadHistory& history, std::size_t num_windows) {
  if (history.options().num_windows <= num_windows) return history;
  LoadHistory::State state = state_of(history);
  state.options.num_windows = num_windows;
  while (state.windows.size() > num_windows) state.windows.pop_front();
  return LoadHistory(std::move(state));
}

LoadHistory with_room_for(LoadHistory history, std::span<const LoadTable> of_source) {
  Totals more(history.num_layers(), 0);
  for (const LoadTable& table : of_source) {
    if (!add_within(more, totals_of(table))) return history;  // which says so when it is added
  }
  Totals sum = totals_of(history.total());
  if (add_within(sum, more)) return history;
  HistoryOptions options = history.options();
  options.num_sources = 0;
  LoadHistory recent(history.num_layers(), history.num_experts(), options);
  const auto& windows = history.windows();
  for (std::size_t left = count_with_room(history, more); left > 0; --left)
    recent.add(windows[windows.size() - left]);
  return with_sources(recent, history.options().num_sources);
}

}  // namespace moewe
