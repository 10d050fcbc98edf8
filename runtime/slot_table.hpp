#pragma once

#include <vector>

#include "comm/buffer.hpp"

namespace moewe {

/// One expert's weights as the matmuls want them.
struct ExpertWeights {
  Buffer in;   ///< gate and up, or up alone
  Buffer out;  ///< down
};

/// The weights in a rank's slots of one layer, in slot order.
struct SlotTable {
  std::vector<ExpertWeights> slots;
};

}  // namespace moewe
