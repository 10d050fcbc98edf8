#pragma once

#include <cstddef>
#include <fmt/format.h>
#include <string>

#include "comm/rank.hpp"

namespace moewe {

/// Where a rank of a run is; begins the message of an error that ends the job.
struct RunPosition {
  const char* phase = "opening";
  bool in_step = false;
  std::size_t step = 0;   ///< from 0; people are told from 1, as by the progress line
  std::size_t layer = 0;  ///< the model's number

  /// "step 3, layer 1", or empty outside the steps: the same on all ranks.
  std::string describe_step() const {
    return in_step ? fmt::format("step {}, layer {}", step + 1, layer) : "";
  }

  /// "rank 2, step 3, layer 1, phase experts"
  std::string describe(Rank rank) const {
    return fmt::format("rank {}, {}{}phase {}", number(rank), describe_step(), in_step ? ", " : "", phase);
  }
};

}  // namespace moewe
