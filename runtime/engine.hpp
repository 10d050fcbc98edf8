#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "comm/backend.hpp"
#include "runtime/dispatch_plan.hpp"
#include "runtime/exchange.hpp"
#include "runtime/kernels/matmul.hpp"
#include "runtime/ledger.hpp"
#include "runtime/path_choice.hpp"
#include "runtime/step_report.hpp"

namespace moewe {

/// The same on every rank, but for threads.
struct EngineOptions {
  PathRequest path = PathRequest::automatic;

  /// Replaces choose_paths where set; used to mix paths in one step.
  std::function<PathKind(Rank self, Rank peer)> path_between;

  VerifyLevel verify = VerifyLevel::ledger;

  /// Cores that the rank computes on; 0 leaves OpenMP's setting as it is.
  int threads = 0;

  /// Largest row message.
  std::size_t message_chunk_bytes = 1 << 20;
};

/// What one step in flight uses: its exchange with all memory regions, and its plan, routing and account.
struct Lane {
  Exchange exchange;
  DispatchPlan plan;
  Routing routing;
  Ledger ledger;
};

/// What the layers of one rank share: communicator, carriers, exchange memory, matmuls and counters. One
/// engine is one ordered stream of steps: all ranks run the same steps of the same layers in the same order,
/// each rank from one thread. An engine outlives its layers and is destroyed on all ranks.
class Engine {
 public:
  /// Collective. `communicator` is not used again by the engine; it works on a child. Throws a shared Error
  /// when the options ask for what cannot be had.
  Engine(Communicator& communicator, const Backend& backend, EngineOptions options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  Communicator& communicator() { return *communicator_; }
  const EngineOptions& options() const { return options_; }
  MemoryMeter& memory() { return meter_; }
  MatmulCache& matmuls() { return matmuls_; }
  Lane& lane() { return *lane_; }

  /// From this rank to every rank, in rank order.
  const std::vector<PathChoice>& paths() const { return paths_; }
  const std::string& carrier() const { return carrier_; }

  /// Where the rank is now, or was when an exception left the engine.
  const StepPosition& position() const { return position_; }

  /// For layers: numbers a layer, in the order of their construction.
  std::size_t add_layer(std::size_t num_experts);

  /// For layers: begins the next step.
  StepPosition& begin_step(std::size_t layer);

  /// Largest number of experts of any layer.
  std::size_t max_experts() const { return max_experts_; }

 private:
  std::vector<PathChoice> decide_paths() const;
  std::vector<std::unique_ptr<Path>> make_paths();
  std::vector<Rank> peers_on(PathKind kind) const;

  EngineOptions options_;
  std::string carrier_;
  MemoryMeter meter_;  // outlives all that is counted
  std::unique_ptr<Communicator> communicator_;
  std::unique_ptr<MessageTransport> transport_;
  PeerMemoryOffer peer_memory_;
  std::vector<PathChoice> paths_;
  MatmulCache matmuls_;
  std::unique_ptr<Lane> lane_;
  StepPosition position_;
  std::size_t num_layers_ = 0;
  std::size_t max_experts_ = 0;
};

}  // namespace moewe
