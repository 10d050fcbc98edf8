#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "placement/load_drift.hpp"

namespace moewe {

struct PatternOptions {
  std::size_t recent_steps = 8;  ///< that are compared with those before them
  std::size_t most_steps = 256;  ///< remembered of a pattern: older ones count for less and less
  /// Share of the assignments, per billion, that must go to other experts than before, beyond what noise
  /// explains, for it to be another pattern.
  std::int64_t least_drift = 30'000'000;

  bool operator==(const PatternOptions&) const = default;
};

/// One layer's loads, step by step, as patterns that last until they change. A value; equal steps give equal
/// patterns on every rank, in integers. Remembers bounded sums, however long it goes on.
class LoadPattern {
 public:
  /// Throws InvalidInput without experts, and for options out of range: recent_steps are from 1 to
  /// most_steps.
  explicit LoadPattern(std::size_t num_experts, const PatternOptions& options = {});

  /// The next step's assignments per expert. Whether loads have changed by now: then all that came before
  /// this step is forgotten, since the latest of it is mixed of both. Throws InvalidInput for another number
  /// of experts, for negative counts, and where as many such steps as are remembered would exceed
  /// max_total_load (placement/split.hpp); then nothing has changed.
  bool add(std::span<const std::int64_t> counts);

  /// Sums over remembered steps, and over how many: the slow average, where changes end it, and the fast one.
  const std::vector<std::int64_t>& loads() const { return loads_; }
  std::int64_t num_steps() const { return older_steps_ + static_cast<std::int64_t>(recent_.size()); }
  const std::vector<std::int64_t>& recent_loads() const { return recent_sum_; }

  /// Steps since this pattern began.
  std::uint64_t age() const { return age_; }
  std::uint64_t num_changes() const { return num_changes_; }

  /// How many steps more the pattern may be expected to last: as many as it has lasted, or as the shortest of
  /// the latest three before it, whichever is more.
  std::uint64_t expected_life() const;

 private:
  void take_in(std::span<const std::int64_t> counts);
  bool has_changed() const;
  void forget_older_half();
  void begin_anew();

  PatternOptions options_;
  std::deque<std::vector<std::int64_t>> recent_;
  std::vector<std::int64_t> recent_sum_;
  std::vector<std::int64_t> older_sum_;
  std::vector<std::int64_t> loads_;  // of both
  std::int64_t older_steps_ = 0;
  std::uint64_t age_ = 0;
  std::uint64_t num_changes_ = 0;
  std::array<std::uint64_t, 3> latest_lives_{};
};

}  // namespace moewe
