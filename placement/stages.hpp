#pragma once

#include <cstddef>
#include <span>

#include "placement/placement.hpp"

namespace moewe {

/// A placement on the way from `now` to `target`, where ranks have little room for experts that arrive while
/// those who leave are still in use: to each rank at most `room` experts come, and no rank holds more than
/// `target` or `now` give it, whichever are more. Of the epoch after `now`.
///
/// Experts that are only where another has to come go on in the same stage, rank after rank, until one has a
/// copy elsewhere, a rank has a free slot, or the way is closed to a ring; so that stage after stage gets
/// there. It has the slowness of `target`. The same answer wherever it is computed.
///
/// Both are of the same ranks and experts; `room` is 1 or more. A rank's further slots with the same expert
/// count as free ones.
Placement next_stage(const Placement& now, const Placement& target, std::size_t room);

/// `placement` with `num_spares` more slots on each rank, which hold copies of experts of other ranks: those
/// after its own, so that copies are spread over all experts. Fewer where a rank has all experts.
Placement with_spare_copies(const Placement& placement, std::size_t num_spares);

/// The same with so many more slots that each rank has at least `slots_per_rank`, [num_ranks].
Placement with_slots(const Placement& placement, std::span<const std::size_t> slots_per_rank);

}  // namespace moewe
