#include "runtime/migration_rules.hpp"

#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

void check_rank(const MigrationRoom& room, Rank rank, const Placement& now, const Placement& next,
                const MigrationPlan& plan) {
  const std::size_t usable = room.first_slots[index(rank)] + room.spare_slots;
  const std::size_t wanted = next.experts_of(rank).size();
  if (wanted > usable) {
    throw InvalidInput(fmt::format("layer {}: rank {} cannot hold {} experts; it has {} slots and {} spare",
                                   room.layer, number(rank), wanted, room.first_slots[index(rank)],
                                   room.spare_slots));
  }
  const std::size_t held = num_distinct_experts(now, rank);
  const std::size_t free = usable + room.staging_slots - held;
  const std::size_t arriving = plan.num_received_by(rank);
  if (arriving <= free) return;
  throw InvalidInput(fmt::format(
      "layer {}: {} experts cannot come to rank {} at a time; beside the {} that it holds it has {} slots",
      room.layer, arriving, number(rank), held, free));
}

}  // namespace

MigrationRoom migration_room(std::size_t layer, const Placement& first, const LayerOptions& options) {
  MigrationRoom room{layer, {}, options.spare_slots, options.staging_slots};
  for (std::size_t rank = 0; rank < first.num_ranks(); ++rank)
    room.first_slots.push_back(first.experts_of(rank_at(rank)).size());
  return room;
}

void check_migration(const MigrationRoom& room, const Placement& now, const Placement& next,
                     const MigrationPlan& plan) {
  if (next.epoch() <= now.epoch()) {
    throw InvalidInput(fmt::format("layer {}: a placement of epoch {} cannot follow one of epoch {}",
                                   room.layer, next.epoch(), now.epoch()));
  }
  for (std::size_t rank = 0; rank < next.num_ranks(); ++rank)
    check_rank(room, rank_at(rank), now, next, plan);
}

void check_migration_pace(std::size_t layer, std::size_t bytes_per_step, std::size_t patience_steps) {
  if (bytes_per_step > 0 && patience_steps > 0) return;
  throw InvalidInput(
      fmt::format("layer {}: a migration needs at least a byte and a step of patience, not {} and {}", layer,
                  bytes_per_step, patience_steps));
}

}  // namespace moewe
