#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "placement/placement.hpp"
#include "runtime/device_slot_pool.hpp"
#include "runtime/device_weight_carrier.hpp"
#include "runtime/device_weight_sums.hpp"
#include "runtime/memory_plan.hpp"
#include "runtime/migration_plan.hpp"
#include "runtime/migration_report.hpp"

namespace moewe {

/// The same on every rank.
struct DeviceMigrationOptions {
  /// Bytes of weights that a rank sends in one step, and has under way at most.
  std::size_t bytes_per_step = std::size_t{8} << 20U;

  /// Steps without progress of the slowest rank after which the migration is cancelled. Steps of few tokens
  /// may be much quicker than messages.
  std::size_t patience_steps = 1000;
};

/// Migration for weights that lie on devices: they go from device to device, on the transport's queues and
/// one for checksums, beside the queues that compute. What a rank sends is what it holds, into memory that
/// nobody else uses; checksums of both ends are compared before the new epoch may begin. Steps go on
/// meanwhile, and all ranks change over in the same one. Everything but begin() and agree() is local and
/// non-blocking. What goes wrong on one rank cancels the migration on all, and the old epoch goes on serving.
class DeviceMigration {
 public:
  /// What it works with; all of it outlives it, and the carrier's transport is not one of groups.
  struct Place {
    Communicator& communicator;
    Device& device;
    DeviceWeightCarrier& carrier;
    MemoryMeter& meter;
    std::size_t expert_bytes;  ///< above 0, and the same on every rank
    std::size_t layer = 0;     ///< its number, for people
  };

  DeviceMigration(const Place& place, std::uint64_t epoch);
  ~DeviceMigration();
  DeviceMigration(const DeviceMigration&) = delete;
  DeviceMigration& operator=(const DeviceMigration&) = delete;

  /// What construction takes.
  static MemoryPlan plan_memory(std::size_t expert_bytes);

  /// What one migration needs to know.
  struct Task {
    Placement now;
    std::vector<DeviceExpertWeights> slots;  ///< of this rank, in order
    Placement next;
    MigrationPlan plan;
    DeviceMigrationOptions options;

    /// Memory of the device for an expert that comes; null where there is none yet. What it throws cancels.
    std::function<DeviceExpertRoom()> take_room;

    /// That the slots are in: shared beyond the migration as long as something of it is being sent.
    std::shared_ptr<const void> memory;
  };

  /// All ranks begin the same between the same steps, while no other layer has the carrier's turn.
  void begin(Task task);

  bool is_under_way() const { return state_.is_under_way(); }

  /// Once a step. Throws only what ends the engine.
  void progress();

  /// What the layer's next agreement is to carry.
  MigrationWord word() const { return state_.word(); }

  /// With what the step's agreement said. Where that cancels the migration, collective and blocking: all
  /// ranks learn why.
  void agree(MigrationWord lowest);

  /// Before everything else of a step: this rank's slots in the epoch that begins with it, in the order of
  /// the next placement; or nothing. What the old epoch's steps still use, they hold.
  std::optional<std::vector<DeviceExpertWeights>> begin_step();

  const MigrationReport& report() const { return report_; }

 private:
  /// One expert's messages in one direction: its pieces in order, and then their checksums.
  struct Stream {
    const Move* move = nullptr;
    DeviceExpertRoom room;        ///< where it arrives
    DeviceExpertWeights weights;  ///< what is sent
    std::deque<Request> requests;
    std::size_t num_posted = 0;
    std::size_t num_done = 0;
    bool is_compared = false;  ///< with the checksums being copied to the host, or done
    bool is_complete = false;
  };

  void enter_round(std::size_t round);
  bool is_open() const;
  bool is_finished(const Stream& stream) const { return stream.move == nullptr || stream.is_complete; }
  void move_on();
  void move_on_or_fail();
  std::int64_t pieces_done() const;
  std::size_t length_of(std::size_t message) const;
  void send();
  void receive();
  void post_receives();
  void compare();
  DeviceExpertWeights weights_of(ExpertId expert) const;
  void gather_slots();
  void cancel();
  void let_go();
  std::string describe(const Move& move) const;

  Place place_;
  EpochState state_;
  MigrationReport report_;
  std::unique_ptr<Queue> queue_;
  std::unique_ptr<Event> sent_summed_;
  std::unique_ptr<Event> compared_;
  std::shared_ptr<DeviceWeightSums> sent_sums_;  // being sent too
  DeviceWeightSums arrived_sums_;
  DeviceBuffer told_sums_;  // that the sender took
  DeviceBuffer both_sums_;  // pinned, to compare

  // Of the migration under way.
  std::optional<Task> task_;
  std::shared_ptr<const DeviceWeightCarrier::Turn> turn_;
  std::size_t piece_bytes_ = 0;
  std::size_t num_pieces_ = 0;  // of an expert
  std::size_t pieces_per_step_ = 0;
  std::size_t round_ = 0;
  Stream sending_;
  Stream receiving_;
  std::map<ExpertId, DeviceExpertWeights> arrived_;
  std::vector<DeviceExpertWeights> next_slots_;
  std::exception_ptr failure_;
};

}  // namespace moewe
