#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "placement/load_drift.hpp"

namespace moewe {

/// Assignments per expert, [layers][experts]: none below 0, of each layer at most max_total_load
/// (placement/split.hpp) in all.
using LoadTable = std::vector<std::vector<std::int64_t>>;

/// How long a history remembers.
struct HistoryOptions {
  std::size_t num_windows = 16;  ///< that are kept as they are, from 2 to 4096
  unsigned fast_shift = 1;       ///< a new window's weight in the fast average is 1 / 2^shift
  unsigned slow_shift = 4;       ///< in the slow one; both at most 15
  std::size_t num_sources = 0;   ///< ranks whose tokens are counted apart; 0: sources are not known

  bool operator==(const HistoryOptions&) const = default;
};

/// The loads of a model's layers over time: exact counts of the newest windows, of some steps each, of all
/// windows together, and their fast and slow exponential averages. A value; equal windows give equal
/// histories on every rank, in integers.
class LoadHistory {
 public:
  /// What an average counts in: parts of an assignment.
  static constexpr std::int64_t parts = 1 << 16;

  /// Nothing has happened yet. Throws InvalidInput for options out of range, and without layers or experts.
  LoadHistory(std::size_t num_layers, std::size_t num_experts, const HistoryOptions& options = {});

  /// The next window, [layers][experts], where sources are not known. Throws InvalidInput for another shape,
  /// for loads that cannot be, and where all windows together have too many assignments; then nothing has
  /// changed.
  void add(const LoadTable& window);

  /// The same with the sources' tables, whose sum is the window: one for each of options().num_sources.
  void add_by_source(std::span<const LoadTable> of_source);

  std::size_t num_layers() const { return total_.size(); }
  std::size_t num_experts() const { return total_.front().size(); }
  const HistoryOptions& options() const { return options_; }

  /// The oldest first; those that came before are only in total and averages.
  const std::deque<LoadTable>& windows() const { return windows_; }
  std::uint64_t num_windows_seen() const { return num_windows_seen_; }

  const LoadTable& total() const { return total_; }

  /// The same apart for each source; empty where sources are not known.
  const std::vector<LoadTable>& by_source() const { return by_source_; }

  /// In 1 / `parts` of an assignment per window. The first window counts in full.
  const LoadTable& fast() const { return fast_; }
  const LoadTable& slow() const { return slow_; }

  /// Whether a layer's experts are now loaded otherwise than before: the newest windows against the others
  /// that are kept, a quarter of them, and one at least. Says that nothing has drifted while there is one
  /// window only.
  Drift drift(std::size_t layer) const;

  /// What stands in a file, to go on from. Throws InvalidInput where a table has another shape or loads that
  /// cannot be, where more windows are kept than were seen, and where they, or sources, have more of an
  /// expert's assignments than all windows together.
  struct State {
    HistoryOptions options;
    std::uint64_t num_windows_seen = 0;
    LoadTable total;
    LoadTable fast;
    LoadTable slow;
    std::deque<LoadTable> windows;
    std::vector<LoadTable> by_source;
  };
  explicit LoadHistory(State state);

  bool operator==(const LoadHistory&) const = default;

 private:
  void add_window(const LoadTable& window);

  HistoryOptions options_;
  std::uint64_t num_windows_seen_ = 0;
  LoadTable total_;
  LoadTable fast_;
  LoadTable slow_;
  std::deque<LoadTable> windows_;
  std::vector<LoadTable> by_source_;
};

}  // namespace moewe
