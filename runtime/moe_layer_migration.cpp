#include <fmt/format.h>
#include <utility>

#include "comm/error.hpp"
#include "runtime/moe_layer.hpp"

namespace moewe {

void MoeLayer::prepare_migration() {
  if (!options_.can_migrate()) return;
  room_ = migration_room(number_, placement(), options_);
  layout_digest_ = experts_->layout_digest();
  const Migration::Place place{engine_.communicator(), engine_.require_chunk_carrier(), *pool_, number_};
  migration_ = std::make_unique<Migration>(
      place, placement().epoch(),
      [this](const Placement& next, SlotTable slots) { return make_epoch(next, std::move(slots)); });
}

void MoeLayer::check_can_migrate(const MigrationOptions& options) const {
  if (!migration_)
    throw InvalidInput(
        fmt::format("layer {}: no expert can migrate without spare or staging slots", number_));
  engine_.require_chunk_carrier().require_free();
  check_migration_pace(number_, options.bytes_per_step, options.patience_steps);
}

void MoeLayer::add_migration(const MigrationPlan& plan, const MigrationOptions& options,
                             StepHeader& header) const {
  const auto add = [&](const char* name, auto value) { header.add(name, static_cast<std::int64_t>(value)); };
  add("migration's plan (its digest)", plan.digest());
  add("migration's bytes per step", options.bytes_per_step);
  add("migration's patience", options.patience_steps);
  add("migration's path", options.path);
  add("layout of packed weights (its digest)", layout_digest_);
}

void MoeLayer::begin_epoch() {
  if (!migration_) return;
  if (auto next = migration_->begin_step()) epoch_ = std::move(next);
}

const MigrationReport& MoeLayer::migration() const {
  static const MigrationReport none;
  return migration_ ? migration_->report() : none;
}

}  // namespace moewe
