#include <fmt/format.h>
#include <utility>

#include "comm/error.hpp"
#include "runtime/moe_layer.hpp"

namespace moewe {

void MoeLayer::prepare_migration() {
  if (!options_.can_migrate()) return;
  for (std::size_t rank = 0; rank < engine_.communicator().size(); ++rank)
    first_slots_.push_back(placement().experts_of(rank_at(rank)).size());
  layout_digest_ = experts_->layout_digest();
  const Migration::Place place{engine_.communicator(), engine_.require_chunk_carrier(), *pool_, number_};
  migration_ = std::make_unique<Migration>(
      place, placement().epoch(),
      [this](const Placement& next, SlotTable slots) { return make_epoch(next, std::move(slots)); });
}

void MoeLayer::check_migration(const Placement& next, const MigrationOptions& options) const {
  if (!migration_)
    throw InvalidInput(
        fmt::format("layer {}: no expert can migrate without spare or staging slots", number_));
  engine_.require_chunk_carrier().require_free();
  if (next.epoch() <= placement().epoch()) {
    throw InvalidInput(fmt::format("layer {}: a placement of epoch {} cannot follow one of epoch {}", number_,
                                   next.epoch(), placement().epoch()));
  }
  if (options.bytes_per_step == 0 || options.patience_steps == 0) {
    throw InvalidInput(
        fmt::format("layer {}: a migration needs at least a byte and a step of patience, not {} and {}",
                    number_, options.bytes_per_step, options.patience_steps));
  }
}

void MoeLayer::check_arrivals(const Placement& next, const MigrationPlan& plan) const {
  for (std::size_t r = 0; r < next.num_ranks(); ++r) {
    const std::size_t usable = first_slots_[r] + options_.spare_slots;
    const std::size_t wanted = next.experts_of(rank_at(r)).size();
    if (wanted > usable) {
      throw InvalidInput(fmt::format("layer {}: rank {} cannot hold {} experts; it has {} slots and {} spare",
                                     number_, r, wanted, first_slots_[r], options_.spare_slots));
    }
    const std::size_t held = num_distinct_experts(placement(), rank_at(r));
    const std::size_t free = usable + options_.staging_slots - held;
    const std::size_t arriving = plan.num_received_by(rank_at(r));
    if (arriving <= free) continue;
    throw InvalidInput(fmt::format(
        "layer {}: {} experts cannot come to rank {} at a time; beside the {} that it holds it has {} slots",
        number_, arriving, r, held, free));
  }
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
