#include "launch/run_device.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <utility>

#include "comm/together.hpp"
#include "launch/options.hpp"

namespace moewe {
namespace {

std::size_t rank_on_node(const Communicator& communicator) {
  const auto ranks = communicator.topology().node_ranks(communicator.rank());
  const auto self = std::find(ranks.begin(), ranks.end(), communicator.rank());
  return static_cast<std::size_t>(self - ranks.begin());
}

/// Collective.
bool all_have_one(Communicator& communicator, const DeviceOffer& offer) {
  std::array<std::int64_t, 1> has_one{offer.device ? 1 : 0};
  communicator.all_reduce({.sums = {}, .minima = has_one, .maxima = {}});
  return has_one[0] == 1;
}

/// Or empty.
std::string reason_against_nodes(const Communicator& communicator, const RunOptions& options) {
  const std::size_t num_nodes = communicator.topology().num_nodes();
  const auto only_on_one = [&](const char* what) {
    return fmt::format("{} is for ranks of one node so far, not of {}", what, num_nodes);
  };
  if (num_nodes == 1) return "";
  if (options.device_mode == DeviceMode::graph) return only_on_one("--device-mode graph");
  return options.verify == VerifyLevel::audit ? only_on_one("--verify audit on devices") : "";
}

/// Or empty. Inside a node rows are pushed.
std::string reason_against_carrier(const Communicator& communicator, const RunOptions& options) {
  const bool has_messages =
      communicator.topology().num_nodes() > 1 || options.exchange.path == PathRequest::message;
  if (options.exchange.carrier != CarrierRequest::nccl || has_messages) return "";
  return "--carrier nccl carries messages, and ranks of one node send none but with --path message";
}

/// Collective. All ranks'.
std::vector<GpuPlace> gpu_places(Communicator& communicator, const Device& device) {
  GpuPlace mine{};
  together(communicator, [&] {
    const std::string id = device.bus_id();
    std::copy_n(id.data(), std::min(id.size(), mine.size() - 1), mine.data());
  });
  return all_gather_values(communicator, mine);
}

RunDevice choose_automatically(Communicator& communicator, const RunOptions& options) {
  for (const std::string& reason :
       {reason_against_devices(options), reason_against_nodes(communicator, options)}) {
    if (!reason.empty()) return {nullptr, reason};
  }
  DeviceOffer offer = choose_device(DeviceChoice::gpu, rank_on_node(communicator));
  if (all_have_one(communicator, offer)) return {std::move(offer.device), "there is a GPU for each rank"};
  return {nullptr, offer.device ? "another rank has no GPU" : offer.reason_for_none};
}

RunDevice choose(Communicator& communicator, const RunOptions& options) {
  if (options.device == DeviceRequest::cpu) return {nullptr, "no other was asked for"};
  if (options.device == DeviceRequest::automatic) return choose_automatically(communicator, options);
  RunDevice chosen{nullptr, "asked for"};
  together(communicator, [&] {
    for (const std::string& reason :
         {reason_against_nodes(communicator, options), reason_against_carrier(communicator, options)}) {
      if (!reason.empty()) throw InvalidInput(reason);
    }
    const bool is_gpu = options.device == DeviceRequest::gpu;
    DeviceOffer offer =
        choose_device(is_gpu ? DeviceChoice::gpu : DeviceChoice::cpu, rank_on_node(communicator));
    if (!offer.device) throw InvalidInput(fmt::format("--device gpu: {}", offer.reason_for_none));
    chosen.device = std::move(offer.device);
  });
  return chosen;
}

}  // namespace

const char* RunDevice::kind() const {
  if (!device) return "cpu";
  return device->is_emulated() ? "emulated" : "gpu";
}

std::string reason_against_devices(const RunOptions& options) {
  const auto only_on_cpu = [](const char* option) {
    return fmt::format("{} is for --device cpu so far", option);
  };
  if (options.layer.split == SplitMode::stored) return only_on_cpu("--split stored");
  if (options.rebalance.measures_speeds || options.rebalance.measures_costs) return only_on_cpu("--measure");
  if (options.overlap == OverlapMode::half) return only_on_cpu("--overlap half");
  if (options.verify == VerifyLevel::audit && options.layer.combine == Combine::fast)
    return only_on_cpu("--verify audit with --combine fast");
  if (options.verify == VerifyLevel::audit && options.exchange.path == PathRequest::message)
    return only_on_cpu("--verify audit with --path message");
  if (options.exchange.path == PathRequest::two_level) return only_on_cpu("--path two-level");
  return "";
}

void check_device(const RunOptions& options) {
  if (options.device_mode == DeviceMode::graph) {
    if (options.device != DeviceRequest::gpu && options.device != DeviceRequest::emulated)
      throw InvalidInput("--device-mode graph is for --device gpu or --device emulated");
    if (options.layer.combine == Combine::fast)
      throw InvalidInput("--combine fast is not for --device-mode graph so far");
    if (options.verify == VerifyLevel::audit)
      throw InvalidInput("--verify audit is not for --device-mode graph so far");
    if (options.rebalance.is_on())
      throw InvalidInput(
          "--rebalance is not for --device-mode graph so far: where experts are is recorded in graphs");
    if (options.layer.capacity)
      throw InvalidInput("--capacity-factor is not for --device-mode graph so far: graphs are dropless");
    if (options.exchange.path == PathRequest::message)
      throw InvalidInput("--path message is not for --device-mode graph so far");
  }
  if (options.exchange.carrier == CarrierRequest::nccl && options.device != DeviceRequest::gpu)
    throw InvalidInput("--carrier nccl is for --device gpu: NCCL carries memory of GPUs alone");
  if (options.device == DeviceRequest::automatic || options.device == DeviceRequest::cpu) return;
  const std::string reason = reason_against_devices(options);
  if (!reason.empty()) throw InvalidInput(reason);
}

std::string reason_against_nccl(const Topology& topology, std::span<const GpuPlace> gpus) {
  for (std::size_t rank = 0; rank < gpus.size(); ++rank) {
    for (const Rank other : topology.node_ranks(rank_at(rank))) {
      if (index(other) <= rank || gpus[index(other)] != gpus[rank]) continue;
      return fmt::format("--carrier nccl wants a GPU for each rank, and ranks {} and {} share the one at {}",
                         rank, number(other), gpus[rank].data());
    }
  }
  return "";
}

std::size_t share_of_device(Communicator& communicator, const Device& device) {
  std::size_t free_bytes = 0;
  together(communicator, [&] { free_bytes = device.free_bytes(); });
  const std::vector<GpuPlace> all = gpu_places(communicator, device);
  const GpuPlace& mine = all[index(communicator.rank())];
  const auto neighbours = communicator.topology().node_ranks(communicator.rank());
  const auto sharers = std::count_if(neighbours.begin(), neighbours.end(),
                                     [&](Rank rank) { return all[index(rank)] == mine; });
  return free_bytes / static_cast<std::size_t>(sharers);
}

RunDevice choose_run_device(Communicator& communicator, const RunOptions& options) {
  RunDevice chosen = choose(communicator, options);
  if (!chosen.device) return chosen;
  together(communicator, [&] { chosen.device->make_current(); });
  if (options.exchange.carrier != CarrierRequest::nccl) return chosen;
  const std::string reason =
      reason_against_nccl(communicator.topology(), gpu_places(communicator, *chosen.device));
  if (!reason.empty()) throw Error(ErrorKind::invalid_input, reason, ErrorScope::shared);
  return chosen;
}

}  // namespace moewe
