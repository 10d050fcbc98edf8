#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/backend.hpp"
#include "runtime/kernels/matmul.hpp"
#include "runtime/lane.hpp"
#include "runtime/step_report.hpp"

namespace moewe {

/// The same on every rank, but for threads.
struct EngineOptions {
  ExchangeOptions exchange;
  VerifyLevel verify = VerifyLevel::ledger;

  /// Cores that the rank computes on.
  std::size_t threads = 1;
};

/// What the layers of one rank share: communicator, lane, matmuls and counters. One engine is one ordered
/// stream of steps: all ranks run the same steps of the same layers in the same order, each rank from one
/// thread. An engine outlives its layers and is destroyed on all ranks.
class Engine {
 public:
  /// Collective. The engine works on a child of `communicator`, which is not used again. Throws a shared
  /// Error when the options ask for what cannot be had.
  Engine(Communicator& communicator, const Backend& backend, const EngineOptions& options);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  Communicator& communicator() { return *communicator_; }
  VerifyLevel verify() const { return verify_; }
  std::size_t threads() const { return lane_->workspace.num_threads; }
  MemoryMeter& memory() { return meter_; }
  const MemoryMeter& memory() const { return meter_; }
  MatmulCache& matmuls() { return matmuls_; }
  Lane& lane() { return *lane_; }

  /// From this rank to every rank, in rank order.
  const std::vector<PathChoice>& paths() const { return lane_->paths(); }
  const std::string& carrier() const { return carrier_; }

  /// Where the rank is now, or was when an exception left the engine.
  const StepPosition& position() const { return position_; }

  std::size_t num_layers() const { return num_layers_; }

  /// For layers: counts one more, once all ranks have agreed on it.
  void add_layer(std::size_t num_experts);

  /// For layers: begins the next step.
  StepPosition& begin_step(std::size_t layer);

  /// Largest number of experts of any layer.
  std::size_t max_experts() const { return max_experts_; }

 private:
  VerifyLevel verify_;
  std::string carrier_;
  MemoryMeter meter_;  // outlives all that is counted
  std::unique_ptr<Communicator> communicator_;
  std::unique_ptr<Lane> lane_;
  MatmulCache matmuls_;
  StepPosition position_;
  std::size_t num_layers_ = 0;
  std::size_t max_experts_ = 0;
};

}  // namespace moewe
