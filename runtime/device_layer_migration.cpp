#include <fmt/format.h>
#include <utility>

#include "comm/error.hpp"
#include "runtime/device_layer.hpp"

// How a layer's experts come to other devices while its steps go on.

namespace moewe {

void DeviceLayer::prepare_migration() {
  if (!options_.can_migrate()) return;
  room_ = migration_room(number_, placement_, options_);
  const DeviceMigration::Place place{engine_.communicator(),
                                     lane_.device(),
                                     lane_.require_weight_carrier(),
                                     engine_.memory(),
                                     DeviceWeights::expert_bytes(spec_, options_.dtype),
                                     number_};
  migration_ = std::make_unique<DeviceMigration>(place, placement_.epoch());
}

void DeviceLayer::check_can_migrate(const Placement& next, const DeviceMigrationOptions& options) {
  if (!migration_)
    throw InvalidInput(
        fmt::format("layer {}: no expert can migrate without spare or staging slots", number_));
  lane_.require_weight_carrier().require_free();
  check_migration_pace(number_, options.bytes_per_step, options.patience_steps);
  if (next.num_ranks() != placement_.num_ranks() || next.num_experts() != spec_.num_experts) {
    throw InvalidInput(fmt::format("the placement is of {} experts on {} ranks, the layer of {} on {}",
                                   next.num_experts(), next.num_ranks(), spec_.num_experts,
                                   placement_.num_ranks()));
  }
}

void DeviceLayer::migrate(Placement next, const DeviceMigrationOptions& options) {
  MigrationPlan plan;
  StepProposal proposal;
  proposal.header = header(Operation::migrate, next);
  proposal.counts_length = engine_.max_counts();
  try {
    check_can_migrate(next, options);
    plan = plan_migration(placement_, next, engine_.communicator().topology());
    check_migration(room_, placement_, next, plan);
    const auto add = [&](const char* name, auto value) {
      proposal.header.add(name, static_cast<std::int64_t>(value));
    };
    add("migration's plan (its digest)", plan.digest());
    add("migration's bytes per step", options.bytes_per_step);
    add("migration's patience", options.patience_steps);
  } catch (...) {
    proposal.failure = std::current_exception();
  }
  agree(engine_.communicator(), std::move(proposal));
  next_ = next;
  migration_->begin({placement_, weights_->slots(), std::move(next), std::move(plan), options,
                     [this] { return weights_->take_room(); }, weights_->memory()});
}

/// All that steps before have enqueued is done, so that nothing uses the slots that they had.
void DeviceLayer::begin_epoch() {
  if (!migration_) return;
  auto slots = migration_->begin_step();
  if (!slots) return;
  placement_ = std::move(next_).value();
  next_.reset();
  weights_->put(lane_.queue(), placement_, std::move(*slots));
}

const MigrationReport& DeviceLayer::migration() const {
  static const MigrationReport none;
  return migration_ ? migration_->report() : none;
}

}  // namespace moewe
