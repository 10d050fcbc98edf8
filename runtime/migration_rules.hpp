#pragma once

#include <cstddef>
#include <vector>

#include "placement/placement.hpp"
#include "runtime/layer_options.hpp"
#include "runtime/migration_plan.hpp"

namespace moewe {

/// What a layer's ranks have for the experts of placements to come.
struct MigrationRoom {
  std::size_t layer = 0;                 ///< its number, for people
  std::vector<std::size_t> first_slots;  ///< of each rank under the first placement
  std::size_t spare_slots = 0;           ///< of each rank, as the following
  std::size_t staging_slots = 0;
};

MigrationRoom migration_room(std::size_t layer, const Placement& first, const LayerOptions& options);

/// Throws InvalidInput unless `next` can follow `now` by this plan: it is of a later epoch, gives no rank
/// more experts than it has slots and spare slots for, nor more new ones than can come beside those it has.
void check_migration(const MigrationRoom& room, const Placement& now, const Placement& next,
                     const MigrationPlan& plan);

/// Throws InvalidInput where either is 0.
void check_migration_pace(std::size_t layer, std::size_t bytes_per_step, std::size_t patience_steps);

}  // namespace moewe
