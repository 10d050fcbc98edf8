#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "placement/placement.hpp"

namespace moewe {

struct SlownessOptions {
  Millionths least = 150'000;   ///< by which a rank's slowness must have changed, of what it was
  std::size_t windows = 3;      ///< in a row in which it must have
  Millionths alike = 100'000;   ///< what is no further from 1 counts as 1, and is told as that
  Millionths grain = 62'500;    ///< other values are multiples of this
  Millionths most = 8'000'000;  ///< and not above this, nor below 1 over it
};

/// How slow each rank is, from what ranks measured window by window. A value; integers only, and equal
/// windows give equal slowness on every rank. Noise does not change it: of a rank's latest five windows the
/// median counts, and slowness is told anew only once some rank's has been another for long enough.
class SlownessEstimate {
 public:
  explicit SlownessEstimate(std::size_t num_ranks, const SlownessOptions& options = {});

  /// `times` [num_ranks] that the same work took each rank in this window, in any unit, at most 2^40; 0 where
  /// a rank did too little to tell. They are compared with the median of those that can tell; without two of
  /// these the window says nothing. Whether slowness() has changed. Throws InvalidInput for another number of
  /// ranks, and for times out of range.
  bool add_window(std::span<const std::int64_t> times);

  /// [num_ranks] for Placement::with_slowness(); empty where all are alike.
  const std::vector<Millionths>& slowness() const { return slowness_; }

 private:
  void take_in(std::size_t rank, Millionths measured);
  bool has_changed() const;
  void tell();

  SlownessOptions options_;
  std::vector<std::vector<Millionths>> latest_;  // of each rank
  std::vector<Millionths> medians_;              // of these; 0: not measured yet
  std::vector<Millionths> slowness_;
  std::size_t num_changed_ = 0;  // windows in a row
};

}  // namespace moewe
