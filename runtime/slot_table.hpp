#pragma once

#include <vector>

#include "comm/buffer.hpp"

namespace moewe {

/// One expert's weights as the matmuls want them.
struct ExpertWeights {
  Buffer gate_up;  ///< gate and up, stacked: [2 * intermediate, hidden]
  Buffer down;     ///< [hidden, intermediate]
};

/// The weights in a rank's slots of one layer, in slot order.
struct SlotTable {
  std::vector<ExpertWeights> slots;
};

}  // namespace moewe
