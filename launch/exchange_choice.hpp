#pragma once

#include <optional>
#include <string>

#include "launch/calibration.hpp"

namespace moewe {

/// How rows travel for one kind of layer.
struct ExchangeChoice {
  Backend backend;                 ///< with the carrier, and why it is that one
  std::optional<PathBasis> basis;  ///< for automatic paths; none where fixed rules choose
};

/// Local and pure. The carrier that is asked for, or the one whose messages are predicted to be quickest on
/// the paths that it would have; the first of the calibration unless another is quicker by more than noise
/// is.
ExchangeChoice choose_exchange(const Topology& topology, const Calibration& calibration,
                               const ExpectedTraffic& traffic);

}  // namespace moewe
