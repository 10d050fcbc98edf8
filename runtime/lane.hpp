#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "comm/backend.hpp"
#include "runtime/dispatch_plan.hpp"
#include "runtime/exchange.hpp"
#include "runtime/experts.hpp"
#include "runtime/ledger.hpp"
#include "runtime/path_choice.hpp"
#include "runtime/routing.hpp"

namespace moewe {

/// How a lane's rows are to travel. The same on every rank.
struct ExchangeOptions {
  PathRequest path = PathRequest::automatic;

  /// Replaces choose_paths where set, for paths that differ from pair to pair; symmetric.
  std::function<PathKind(Rank self, Rank peer)> path_between;

  /// Largest row message.
  std::size_t message_chunk_bytes = 1 << 20;
};

/// What one step in flight has for itself: carriers, memory regions and paths, and its routing, plan and
/// account. The next step on the lane reuses all of it.
class Lane {
 public:
  /// Collective. `communicator` and `meter` outlive the lane. Throws a shared Error when the options ask for
  /// what cannot be had.
  Lane(Communicator& communicator, const Backend& backend, MemoryMeter& meter,
       const ExchangeOptions& options);

  /// From this rank to every rank, in rank order.
  const std::vector<PathChoice>& paths() const { return paths_; }

  Exchange& exchange() { return *exchange_; }

  // What travels may point into these; they outlive the exchange.
  Routing routing;
  DispatchPlan plan;
  Ledger ledger;
  Workspace workspace;

 private:
  std::vector<std::unique_ptr<Path>> make_paths(Communicator& communicator, MemoryMeter& meter,
                                                std::size_t message_chunk_bytes);
  std::vector<Rank> peers_on(PathKind kind) const;

  std::unique_ptr<MessageTransport> transport_;
  PeerMemoryOffer peer_memory_;
  std::vector<PathChoice> paths_;
  std::unique_ptr<Exchange> exchange_;
};

}  // namespace moewe
