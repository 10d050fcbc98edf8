#pragma once

#include "placement/placement.hpp"

namespace moewe {

/// `to` with its experts in other slots of the same ranks: those that `from` holds there as well stay in
/// their slots as far as `to` has these, and the others take what is left, in order. Both of the same ranks
/// and experts.
Placement in_old_slots(const Placement& from, const Placement& to);

}  // namespace moewe
