#include "launch/run_memory.hpp"

#include <algorithm>
#include <cstdint>

#include "comm/device_transport.hpp"
#include "comm/nccl/nccl_memory.hpp"
#include "launch/available_memory.hpp"
#include "launch/cores.hpp"
#include "launch/options.hpp"
#include "launch/run_device.hpp"
#include "launch/run_layers.hpp"
#include "launch/timeline.hpp"
#include "launch/token_range.hpp"

namespace moewe {
namespace {

/// Collective. Pinned memory of messages between devices.
std::size_t staging_of(Engine& engine, const Device& device, const DeviceTransportOptions& options) {
  return staging_bytes(
      choose_device_carriage(engine.communicator(), engine.backend(), device, options).carriage, options);
}

/// Whom a rank sends rows to as messages.
NcclPeers nccl_peers(const Communicator& communicator, PathRequest path) {
  return {path == PathRequest::message ? ranks_on_node(communicator) - 1 : 0,
          communicator.topology().num_nodes() > 1};
}

/// Collective.
DeviceShare device_share(Engine& engine, const RunOptions& options, const Device& device,
                         std::size_t num_tokens) {
  const Communicator& communicator = engine.communicator();
  DeviceShare share{num_tokens, options.device_mode, !device.is_emulated(),
                    options.layer.capacity.has_value(), options.layer.staging_slots};
  if (options.layer.can_migrate()) share.staging_bytes += staging_of(engine, device, {});
  const bool has_messages =
      communicator.topology().num_nodes() > 1 || options.exchange.path == PathRequest::message;
  if (!has_messages || communicator.size() == 1) return share;
  share.staging_bytes += staging_of(engine, device, engine.exchange_options().device_messages);
  if (options.exchange.carrier == CarrierRequest::nccl)
    share.nccl_bytes = nccl_bytes(nccl_peers(communicator, options.exchange.path));
  return share;
}

}  // namespace

RunPlan plan_memory(Engine& engine, const RunInputs& inputs, const RunOptions& options,
                    const Device* device) {
  Communicator& communicator = engine.communicator();
  const Rank rank = communicator.rank();
  const Placement placement = inputs.placement(inputs.layers().front(), communicator.size());
  const TokenRange tokens = tokens_of_rank(inputs.tokens().num_tokens(), communicator.size(), rank);
  RunPlan plan =
      device != nullptr
          ? plan_run_on_device(engine, inputs, device_sizes(engine, inputs, options, *device),
                               device_share(engine, options, *device, tokens.count))
          : plan_run(engine, inputs, options.layer, placement.experts_of(rank).size(), tokens.count);
  if (options.timeline) {
    plan.resident.add(timeline_name, LatestRecords::bytes_for(Timeline::room_for(
                                         options.steps, inputs.layers().size(), communicator.size())));
  }
  // Where the system does not tell what it has, nothing is refused.
  const std::size_t on_node = available_memory() == 0 ? SIZE_MAX / 2 : available_memory();
  require_fit(engine, plan,
              {.host = on_node / ranks_on_node(communicator),
               .gpu = device == nullptr ? 0 : share_of_device(communicator, *device),
               .asked_for = options.memory_limit});
  return plan;
}

std::size_t planned_bytes(const RunPlan& plan, const Engine& engine) {
  return plan.resident.total() + std::max(plan.loading_bytes, engine.planned_bytes());
}

}  // namespace moewe
