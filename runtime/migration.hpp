#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "comm/communicator.hpp"
#include "runtime/chunk_carrier.hpp"
#include "runtime/epoch_state.hpp"
#include "runtime/layer_epoch.hpp"
#include "runtime/migration_plan.hpp"
#include "runtime/migration_report.hpp"
#include "runtime/slot_pool.hpp"

namespace moewe {

/// The same on every rank, but for the function.
struct MigrationOptions {
  /// Bytes of weights that a rank sends in one step of its engine; not less than one chunk, and not more than
  /// ChunkCarrier::window of them.
  std::size_t bytes_per_step = std::size_t{1} << 20U;

  /// Steps of the layer without progress of the slowest rank after which the migration is cancelled.
  std::size_t patience_steps = 200;

  /// Message: weights go as messages between all ranks, instead of through peer memory inside nodes.
  PathRequest path = PathRequest::automatic;

  /// Called before a slot is taken for an expert that comes to this rank; what it throws cancels the
  /// migration. For tests; empty: nothing is called.
  std::function<void(ExpertId)> before_arrival{};
};

/// Copies the experts of one layer that a new epoch gives to other ranks, while steps go on under the old
/// one, and says in which step all ranks change over. Everything but begin() and agree() is local and
/// non-blocking. Whatever goes wrong on one rank cancels the migration on all: the old epoch goes on serving,
/// and another migration may begin.
class Migration {
 public:
  /// What a migration works with; all of it outlives it.
  struct Place {
    Communicator& communicator;
    ChunkCarrier& carrier;
    SlotPool& pool;
    std::size_t layer;
  };

  /// Of the weights of the slots in their order.
  using MakeEpoch = std::function<std::shared_ptr<const LayerEpoch>(const Placement&, SlotTable)>;

  Migration(const Place& place, std::uint64_t epoch, MakeEpoch make_epoch);
  Migration(const Migration&) = delete;
  Migration& operator=(const Migration&) = delete;

  /// What one migration needs to know.
  struct Task {
    std::shared_ptr<const LayerEpoch> now;
    Placement next;
    MigrationPlan plan;
    MigrationOptions options;
  };

  /// All ranks begin the same between the same steps, once they have agreed on it and nobody else migrates.
  void begin(Task task);

  bool is_under_way() const { return state_.is_under_way(); }

  /// Once a step, of whichever layer. Sends and receives what the budget allows. Throws only what ends the
  /// engine.
  void progress();

  /// What the layer's next agreement is to carry.
  MigrationWord word() const { return state_.word(); }

  /// With what the step's agreement said. Where that cancels the migration, collective and blocking: all
  /// ranks learn why.
  void agree(MigrationWord lowest);

  /// Before everything else of a step of the layer: the epoch that begins with it, or null.
  std::shared_ptr<const LayerEpoch> begin_step();

  const MigrationReport& report() const { return report_; }

 private:
  void enter_round(std::size_t round);
  bool is_open() const;
  bool has_finished_round() const;
  void move_on();
  void move_on_or_fail();
  void finish_rounds();
  std::int64_t pieces_done() const;

  std::size_t chunk_length(std::size_t chunk) const;
  void send_chunks();
  void receive_chunks();
  bool has_slot();
  bool take(const ChunkCarrier::Arrived& chunk);
  void require_expected(const ChunkCarrier::Arrived& chunk) const;
  void seal_arrived(std::uint64_t checksum);
  std::shared_ptr<const ExpertWeights> weights_of(ExpertId expert) const;
  void build_epoch();

  void fail(std::exception_ptr failure);
  std::exception_ptr why_slow(MigrationWord lowest) const;
  void cancel(MigrationWord lowest);
  void let_go();
  std::string describe(const Move& move) const;

  Place place_;
  MakeEpoch make_epoch_;
  EpochState state_;
  MigrationReport report_;

  // Of the migration under way.
  std::optional<Task> task_;
  std::shared_ptr<const ChunkCarrier::Turn> turn_;
  std::size_t expert_bytes_ = 0;
  std::size_t payload_ = 0;  // bytes of every chunk but the last of an expert
  std::size_t chunks_per_move_ = 0;
  std::size_t chunks_per_step_ = 0;
  std::size_t round_ = 0;
  const Move* sending_ = nullptr;    // in this round
  const Move* receiving_ = nullptr;  // the same
  std::size_t num_sent_ = 0;         // chunks
  std::size_t num_received_ = 0;
  SlotPool::OpenSlot slot_;  // where chunks arrive
  std::map<ExpertId, std::shared_ptr<const ExpertWeights>> arrived_;
  std::shared_ptr<const LayerEpoch> epoch_;  // the next, once it is ready
  std::exception_ptr failure_;
};

}  // namespace moewe
