#pragma once

#include "placement/placement.hpp"
#include "runtime/slot_table.hpp"
#include "runtime/weight_audit.hpp"

namespace moewe {

/// A placement and the weights that this rank's slots hold under it. Immutable.
struct LayerEpoch {
  Placement placement;
  SlotTable slots;  ///< empty where a caller's function computes
  WeightAudit
      audited;  ///< of the slots and of what all experts share; without parts where nothing is audited
};

}  // namespace moewe
