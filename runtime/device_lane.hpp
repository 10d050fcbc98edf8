#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "comm/device_buffer.hpp"
#include "runtime/device_step.hpp"
#include "runtime/device_weight_carrier.hpp"
#include "runtime/engine.hpp"
#include "runtime/grouped_experts.hpp"

namespace moewe {

class DeviceAudit;
class DeviceExchange;

/// What steps on a device have for themselves: queues, memory for the most tokens of a step, and the exchange
/// of rows with other ranks' devices, by the paths that the engine's options ask for. The layers of an engine
/// whose sizes are alike share one, a step at a time.
class DeviceLane {
 public:
  static constexpr std::string_view step_name = "device steps";
  static constexpr std::string_view arrivals_name = "device arrivals";
  static constexpr std::string_view pinned_name = "device steps, pinned";

  /// Collective, also its destruction. `sizes` are the same on every rank, but for the number of slots.
  /// Engine and device outlive it. Throws a shared Error as DeviceExchange does, or when a rank has no
  /// memory.
  DeviceLane(Engine& engine, Device& device, const DeviceSizes& sizes);

  /// What carries weights ends first, then what carries rows. What a device still uses after a while is kept
  /// until the process ends, since to free it would wait for ever, and so are both carriers: other ranks then
  /// wait for this one's part in their end until the deadline.
  ~DeviceLane();
  DeviceLane(const DeviceLane&) = delete;
  DeviceLane& operator=(const DeviceLane&) = delete;

  /// What construction takes on this rank, beside pinned chunks for messages (staging_bytes), and what steps
  /// take beside it where so many assignments arrive. `sizes` say how many ranks get messages.
  static MemoryPlan plan_memory(const DeviceSizes& sizes, std::size_t num_ranks);
  static MemoryPlan plan_arrivals(const DeviceSizes& sizes, std::size_t num_assignments);

  const DeviceSizes& sizes() const { return sizes_; }
  Device& device() { return device_; }
  Queue& queue() { return *queue_; }

  /// For what runs beside the step.
  Queue& side_queue() { return *side_queue_; }
  DeviceExchange& exchange() { return *exchange_; }
  const DeviceExchange& exchange() const { return *exchange_; }
  const DeviceStepMemory& memory() const { return memory_; }
  const DeviceArrivals& arrivals() const { return arrivals_; }
  const PinnedStepMemory& pinned() const { return pinned_; }

  /// Null where sizes do not say that matmuls may be grouped.
  GroupedExperts* grouped() { return grouped_ ? &*grouped_ : nullptr; }

  /// Null where the engine's steps are not audited.
  DeviceAudit* audit() { return audit_.get(); }

  /// Collective where more arrive on some rank than ever before: makes room for so many assignments on each
  /// rank, which all know alike. The queues are idle. Throws a shared Error when a rank has no memory.
  void expect_arrivals(std::span<const std::int64_t> per_rank);

  /// Collective: makes it, unless it is there. Throws a shared Error.
  DeviceWeightCarrier& require_weight_carrier();

  /// Once in every step, when its rows are on their way: weights that are sent now travel behind them.
  void move_experts() {
    if (weight_carrier_) weight_carrier_->progress();
  }

  /// The side queue goes on from where the queue is now, and the other way round.
  void fork();
  void join();

  /// Blocking, for a while: until the queues have done what uses memory of callers. False where they have
  /// not.
  bool let_go() noexcept;

  /// Blocking: until both queues have done all.
  void wait();

 private:
  void make_room(std::size_t num_assignments);

  Engine& engine_;
  Communicator& communicator_;
  MemoryMeter& meter_;
  Device& device_;
  DeviceSizes sizes_;
  DeviceBuffer step_;
  DeviceBuffer arrived_;
  DeviceBuffer on_host_;
  DeviceStepMemory memory_;
  DeviceArrivals arrivals_;
  std::vector<std::int64_t> most_arrived_;  // on each rank, that there is room for
  PinnedStepMemory pinned_;
  std::optional<GroupedExperts> grouped_;
  std::unique_ptr<DeviceAudit> audit_;
  std::unique_ptr<DeviceExchange> exchange_;
  std::unique_ptr<Event> forked_;
  std::unique_ptr<Event> joined_;
  std::unique_ptr<Queue> queue_;  // ends before what its work uses
  std::unique_ptr<Queue> side_queue_;
  std::unique_ptr<DeviceWeightCarrier> weight_carrier_;
  bool is_stuck_ = false;  // the device does not come to its end
};

}  // namespace moewe
