#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/backend.hpp"
#include "runtime/chunk_carrier.hpp"
#include "runtime/experts.hpp"
#include "runtime/kernels/matmul.hpp"
#include "runtime/lane.hpp"
#include "runtime/step_report.hpp"
#include "runtime/token_buffers.hpp"

namespace moewe {

/// The same on every rank, but for threads and memory limit.
struct EngineOptions {
  ExchangeOptions exchange{};
  VerifyLevel verify = VerifyLevel::ledger;

  /// Cores that the rank computes on.
  std::size_t threads = 1;

  /// Steps that can be in flight at a time.
  std::size_t lanes = 2;

  /// Bytes that this rank's counted memory may take, 0 for any number. Steps that need more are run in
  /// rounds.
  std::size_t memory_limit = 0;
};

/// What the layers of one rank share: communicator, lanes, matmuls and counters. One engine is one ordered
/// stream of steps: all ranks start and finish the same steps of the same layers in the same order, each rank
/// from one thread. An engine outlives its layers and is destroyed on all ranks, when no migration is under
/// way.
class Engine {
 public:
  /// Collective. The engine works on the backend's quickest child of `communicator`, which is not used again.
  /// Throws a shared Error when the options ask for what cannot be had.
  Engine(Communicator& communicator, const Backend& backend, const EngineOptions& options);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  Communicator& communicator() { return *communicator_; }
  const Communicator& communicator() const { return *communicator_; }
  VerifyLevel verify() const { return options_.verify; }
  const std::optional<Flow>& flow() const { return options_.exchange.flow; }

  // For lanes of other kinds.
  const ExchangeOptions& exchange_options() const { return options_.exchange; }
  const Backend& backend() const { return backend_; }

  /// What automatic paths were chosen by, where anything was measured.
  const std::optional<PathBasis>& path_basis() const { return options_.exchange.basis; }
  std::size_t threads() const { return workspace_.num_threads(); }
  MemoryMeter& memory() { return meter_; }
  const MemoryMeter& memory() const { return meter_; }
  MatmulCache& matmuls() { return matmuls_; }
  Workspace& workspace() { return workspace_; }

  /// Collective and blocking: `bytes` on this rank, as many as it likes, for tokens of the caller, zeroed and
  /// the engine's. Layers' input that lies there is read in its place by the ranks of the node, where the
  /// path is direct, and copied once for them otherwise. Throws a shared Error when a rank has no memory.
  std::span<std::byte> add_token_buffer(std::size_t bytes);
  const TokenBuffers& token_buffers() const { return token_buffers_; }

  /// From this rank to every rank, in rank order.
  const std::vector<PathChoice>& paths() const { return lanes_.front()->paths(); }
  const std::string& carrier() const { return backend_.carrier; }
  const std::string& carrier_reason() const { return backend_.carrier_reason; }

  /// Where the rank is now, or was when an exception left the engine.
  const StepPosition& position() const { return position_; }

  /// Bytes that this rank's counted memory may take from now on, 0 for any number. All ranks set one or none.
  void limit_memory(std::size_t bytes) { options_.memory_limit = bytes; }

  std::size_t num_lanes() const { return lanes_.size(); }

  /// One of the lanes, which are all alike.
  const Lane& lane() const { return *lanes_.front(); }

  /// What the engine took for itself, beside its lanes, and keeps.
  const MemoryPlan& own_memory() const { return own_memory_; }

  /// What the lanes took before the first step.
  std::size_t initial_lane_bytes() const { return initial_lane_bytes_; }

  /// What the steps so far were planned to need, on all lanes, each name at its highest.
  MemoryPlan planned_memory() const;

  /// Most that was planned for all lanes together at any one time: at most planned_memory()'s total, and less
  /// where a limit made lanes give memory back.
  std::size_t planned_bytes() const { return planned_bytes_; }

  // For layers.

  std::size_t num_layers() const { return num_layers_; }

  /// The most counts, one per expert or slot, and of sources, that any layer agrees on.
  std::size_t max_counts() const { return max_counts_; }

  /// Collective: makes it, unless it is there. Throws a shared Error.
  ChunkCarrier& require_chunk_carrier();

  /// Counts one more layer, once all ranks have agreed on it.
  void add_layer(std::size_t num_counts);

  /// Begins the next step on a lane that is not busy. Throws InvalidInput if all are.
  Lane& begin_step(std::size_t layer);

  /// Once in every step, when its rows are on their way: weights that are sent now travel behind them, and
  /// not before what other ranks wait for.
  void move_experts() {
    if (chunk_carrier_) chunk_carrier_->progress();
  }
  StepPosition& position() { return position_; }

  /// Steps begun so far.
  std::uint64_t num_started() const { return num_started_; }

  /// Steps in flight are finished in the order in which they are added: take_in_flight throws InvalidInput
  /// for any but the oldest.
  void add_in_flight(std::uint64_t step) { in_flight_.push_back(step); }
  void take_in_flight(std::uint64_t step);

  /// Non-blocking, from the rank's own thread at any time: lets what is under way on any lane move on. It is
  /// called while the rank waits, and between the pieces of what its layers compute.
  void progress();

  /// Numbers rounds from 1, over all layers and lanes.
  std::uint64_t next_generation() { return ++generation_; }

  std::size_t memory_limit() const { return options_.memory_limit; }
  bool has_memory_limit() const { return options_.memory_limit > 0; }

  /// Bytes of the memory limit that each lane may take: an equal share of what is not taken otherwise.
  std::size_t lane_budget() const;

 private:
  void progress_while_computing();
  void note_planned();

  EngineOptions options_;
  Backend backend_;
  MemoryMeter meter_;  // outlives all that is counted
  std::unique_ptr<Communicator> communicator_;
  MemoryPlan own_memory_;
  TokenBuffers token_buffers_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::size_t initial_lane_bytes_ = 0;
  std::size_t planned_bytes_ = 0;
  std::unique_ptr<ChunkCarrier> chunk_carrier_;
  Workspace workspace_;
  MatmulCache matmuls_;
  StepPosition position_;
  std::uint64_t num_started_ = 0;
  std::deque<std::uint64_t> in_flight_;
  std::uint64_t generation_ = 0;
  std::size_t num_layers_ = 0;
  std::size_t max_counts_ = 0;
  bool needs_progress_ = false;
  std::chrono::steady_clock::time_point progressed_;  // while computing
  std::optional<WhileWaiting> while_waiting_;         // ends before the lanes do
};

}  // namespace moewe
