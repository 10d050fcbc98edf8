#include "runtime/device_lane.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <utility>

#include "comm/error.hpp"
#include "comm/log.hpp"
#include "comm/together.hpp"
#include "runtime/device_audit.hpp"
#include "runtime/device_exchange.hpp"
#include "runtime/keep_until_exit.hpp"

namespace moewe {
namespace {

constexpr std::chrono::seconds patience_at_end{1};

/// The bytes of what is taken from an arena, and what is taken.
template <typename Memory>
std::size_t bytes_of_memory(const DeviceSizes& sizes, std::size_t count) {
  DeviceArena arena;
  Memory(sizes, count, arena);
  return arena.used();
}

template <typename Memory>
Memory lay_out(const DeviceSizes& sizes, std::size_t count, DeviceBuffer& buffer) {
  DeviceArena arena(buffer.data());
  return Memory(sizes, count, arena);
}

/// Collective.
std::vector<PathChoice> choose_paths(Engine& engine) {
  Communicator& communicator = engine.communicator();
  std::vector<PathChoice> paths;
  together(communicator, [&] {
    paths = choose_device_paths(communicator.topology(), communicator.rank(), engine.exchange_options());
  });
  return paths;
}

}  // namespace

DeviceLane::DeviceLane(Engine& engine, Device& device, const DeviceSizes& sizes)
    : engine_(engine),
      communicator_(engine.communicator()),
      meter_(engine.memory()),
      device_(device),
      sizes_(sizes),
      most_arrived_(communicator_.size(), 0) {
  std::vector<PathChoice> paths = choose_paths(engine);
  sizes_.num_by_message = num_by_message(paths);
  exchange_ = std::make_unique<DeviceExchange>(engine, device, sizes_, std::move(paths));
  const std::size_t num_ranks = communicator_.size();
  sizes_.is_audited = engine.verify() == VerifyLevel::audit;
  if (sizes_.is_audited) audit_ = std::make_unique<DeviceAudit>(communicator_, device, meter_, sizes_);
  together(communicator_, [&] {
    step_ = DeviceBuffer(device_, meter_, step_name, bytes_of_memory<DeviceStepMemory>(sizes_, num_ranks));
    on_host_ = DeviceBuffer(device_, meter_, pinned_name,
                            bytes_of_memory<PinnedStepMemory>(sizes_, num_ranks), MemoryKind::pinned);
    memory_ = lay_out<DeviceStepMemory>(sizes_, num_ranks, step_);
    pinned_ = lay_out<PinnedStepMemory>(sizes_, num_ranks, on_host_);
    if (sizes_.may_group) grouped_.emplace(device_, meter_, sizes_);
    forked_ = device_.make_event();
    joined_ = device_.make_event();
    queue_ = device_.make_queue();
    side_queue_ = device_.make_queue();
    exchange_->place(*queue_, memory_, pinned_);
    wait();
  });
}

DeviceLane::~DeviceLane() {
  if (!queue_ || !side_queue_ || let_go()) return;
  keep_until_exit(std::move(exchange_), std::move(step_), std::move(arrived_), std::move(on_host_),
                  std::move(grouped_), std::move(forked_), std::move(joined_), std::move(queue_),
                  std::move(side_queue_), std::move(weight_carrier_), std::move(audit_));
}

bool DeviceLane::let_go() noexcept {
  if (is_stuck_) return false;
  try {
    Waiter(patience_at_end)
        .until([&] { return side_queue_->is_idle() && queue_->is_idle(); }, {"the device"});
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::timeout) return true;  // its work has failed: none of it is done any more
    log(LogLevel::warning, fmt::format("{}; its memory is kept until the process ends", error.what()));
    is_stuck_ = true;
    return false;
  }
  return true;
}

MemoryPlan DeviceLane::plan_memory(const DeviceSizes& sizes, std::size_t num_ranks) {
  MemoryPlan plan;
  plan.add(DevicePeerMemory::meter_name,
           DeviceRegions(sizes, num_ranks, num_ranks - sizes.num_by_message).bytes);
  if (sizes.is_audited) plan.add(DevicePeerMemory::meter_name, DeviceAudit::segment_bytes(sizes, num_ranks));
  plan.add(step_name, bytes_of_memory<DeviceStepMemory>(sizes, num_ranks));
  plan.add(pinned_name, bytes_of_memory<PinnedStepMemory>(sizes, num_ranks));
  if (sizes.may_group) GroupedExperts::plan_memory(sizes, plan);
  return plan;
}

MemoryPlan DeviceLane::plan_arrivals(const DeviceSizes& sizes, std::size_t num_assignments) {
  MemoryPlan plan;
  plan.add(arrivals_name, bytes_of_memory<DeviceArrivals>(sizes, num_assignments));
  return plan;
}

void DeviceLane::expect_arrivals(std::span<const std::int64_t> per_rank) {
  std::vector<std::int64_t> most = most_arrived_;
  for (std::size_t rank = 0; rank < most.size(); ++rank) most[rank] = std::max(most[rank], per_rank[rank]);
  if (most == most_arrived_) return;
  most_arrived_.assign(most.size(), 0);  // in case that there is no memory
  together(communicator_, [&] { make_room(static_cast<std::size_t>(most[index(communicator_.rank())])); });
  most_arrived_ = std::move(most);
}

void DeviceLane::make_room(std::size_t num_assignments) {
  if (num_assignments <= arrivals_.room) return;
  arrived_ = DeviceBuffer();  // not beside the larger one
  arrivals_ = {};
  arrived_ =
      DeviceBuffer(device_, meter_, arrivals_name, bytes_of_memory<DeviceArrivals>(sizes_, num_assignments));
  arrivals_ = lay_out<DeviceArrivals>(sizes_, num_assignments, arrived_);
}

DeviceWeightCarrier& DeviceLane::require_weight_carrier() {
  if (!weight_carrier_) {
    weight_carrier_ =
        std::make_unique<DeviceWeightCarrier>(communicator_, engine_.backend(), device_, meter_);
  }
  return *weight_carrier_;
}

void DeviceLane::fork() {
  queue_->record(*forked_);
  side_queue_->wait_for(*forked_);
}

void DeviceLane::join() {
  side_queue_->record(*joined_);
  queue_->wait_for(*joined_);
}

void DeviceLane::wait() {
  const auto is_idle = [&] { return side_queue_->is_idle() && queue_->is_idle(); };
  communicator_.waiter().until(is_idle, {"the device"});
}

}  // namespace moewe
