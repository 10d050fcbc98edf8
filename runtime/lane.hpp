#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "comm/backend.hpp"
#include "comm/device_transport.hpp"
#include "runtime/dispatch_plan.hpp"
#include "runtime/exchange.hpp"
#include "runtime/ledger.hpp"
#include "runtime/memory_plan.hpp"
#include "runtime/path_choice.hpp"
#include "runtime/routing.hpp"

namespace moewe {

/// How rows are to travel. The same on every rank.
struct ExchangeOptions {
  PathRequest path = PathRequest::automatic;

  /// By what automatic paths between nodes are chosen; by message without it.
  std::optional<PathBasis> basis{};

  /// Replaces choose_paths where set, for paths that differ from pair to pair; symmetric. Two-level is for
  /// all ranks of two different nodes or for none of them.
  std::function<PathKind(Rank self, Rank peer)> path_between;

  /// Replaces what follows from the layer where set.
  std::optional<Flow> flow;

  /// Longest message, 0 for what suits the link: between nodes less than what MPI sends at once, since of
  /// longer ones the two directions take turns; inside a node long ones.
  std::size_t message_chunk_bytes = 0;

  /// Of layers on devices, how their memory gets into messages.
  DeviceTransportOptions device_messages{};

  /// Replaces make_device_transport where set, for a carrier of the caller's own. Collective, as that is.
  std::function<std::unique_ptr<DeviceTransport>(Communicator&, Device&)> make_device_carrier{};

  std::size_t chunk_bytes(bool share_node) const {
    constexpr std::size_t inside_node = std::size_t{1} << 20U;
    constexpr std::size_t between_nodes = std::size_t{56} << 10U;
    if (message_chunk_bytes > 0) return message_chunk_bytes;
    return share_node ? inside_node : between_nodes;
  }
};

/// What one step in flight has for itself: carriers, memory regions and paths, and its routing, plan and
/// account. The next step on the lane reuses all of it.
class Lane {
 public:
  /// Collective. `communicator`, `token_buffers` and `meter`, in which the lane's memory is counted too,
  /// outlive the lane. Throws a shared Error when the options ask for what cannot be had.
  Lane(Communicator& communicator, const Backend& backend, MemoryMeter& meter,
       const TokenBuffers& token_buffers, const ExchangeOptions& options);

  /// From this rank to every rank, in rank order.
  const std::vector<PathChoice>& paths() const { return paths_; }

  Exchange& exchange() { return *exchange_; }
  const Exchange& exchange() const { return *exchange_; }

  /// Of the lane alone.
  const MemoryMeter& memory() const { return meter_; }

  /// What the lane has taken now.
  MemoryPlan held() const;

  /// Before memory is taken: it is planned to be, by name.
  void add_planned(const MemoryPlan& memory);

  /// What is planned to be taken now, since memory was given back last.
  std::size_t planned_bytes() const { return planned_since_release_.total(); }

  /// `call` is called whenever that may have grown.
  void when_planned(std::function<void()> call) { when_planned_ = std::move(call); }

  /// What the steps so far were planned to need, each name at its highest.
  const MemoryPlan& planned() const { return planned_; }

  /// Between rounds: gives back plan and exchange, apart from what peers see.
  void release_memory();

 private:
  MemoryMeter meter_;  // outlives all that is counted

 public:
  // What travels may point into these; they outlive the exchange.
  RoutingTable routed;   ///< by the router
  RoutingTable decided;  ///< after overflow, where the capacity is bounded
  DispatchPlan plan;
  Ledger ledger;

  bool is_busy = false;

  /// Of the last round whose memory was planned, unless memory was given back since.
  std::optional<RoundSizes> planned_round;

 private:
  void prepare_two_level(Communicator& communicator, const Backend& backend);
  std::vector<std::unique_ptr<Path>> make_paths(Communicator& communicator, const ExchangeOptions& options);
  std::unique_ptr<Path> make_two_level_path(const Communicator& communicator, std::vector<Rank> peers,
                                            std::size_t chunk_bytes);
  std::vector<Rank> peers_on(PathKind kind) const;

  const TokenBuffers& token_buffers_;
  MemoryPlan planned_;
  MemoryPlan planned_since_release_;
  std::function<void()> when_planned_;

  std::unique_ptr<MessageTransport> transport_;
  PeerMemoryOffer peer_memory_;

  // Where any pair of ranks goes two-level.
  MemoryMeter two_level_meter_;
  std::unique_ptr<MessageTransport> two_level_transport_;
  PeerMemoryOffer two_level_memory_;

  std::vector<PathChoice> paths_;
  std::unique_ptr<Exchange> exchange_;
};

}  // namespace moewe
