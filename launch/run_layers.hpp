#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "launch/options.hpp"
#include "launch/overlap_mode.hpp"
#include "launch/run_inputs.hpp"
#include "launch/run_layer.hpp"
#include "launch/run_paths.hpp"
#include "runtime/graph_layer.hpp"

namespace moewe {

/// This rank's, for layers of a run on its device.
DeviceSizes device_sizes(const Engine& engine, const RunInputs& inputs, const RunOptions& options,
                         const Device& device);

/// The layers of a run, on cores or on devices.
class RunLayers {
 public:
  /// Borrows everything. `device` is null where layers are on cores.
  RunLayers(Engine& engine, const RunInputs& inputs, const RunOptions& options, Device* device)
      : engine_(engine), inputs_(inputs), options_(options), device_(device) {}

  /// Collective, once: reads their weights.
  void load();

  /// Collective and blocking: one step of the i-th layer. `routing` is null where the router chooses. Throws
  /// as MoeLayer::forward and DeviceLayer::forward do.
  StepOutcome run_step(std::size_t i, TokenRows x, const Routing* routing, std::span<float> y);

  std::size_t size() const { return inputs_.layers().size(); }

  /// From the beginning, where they will come.
  const std::vector<RunLayer>& all() const { return layers_; }
  std::vector<RunLayer>& all() { return layers_; }

  const Device* device() const { return device_; }

  RunPaths paths() const;

  /// For people: with what experts on devices are multiplied, and how often; empty for layers on cores.
  std::string expert_matmuls() const;

 private:
  StepOutcome run_graph(std::size_t i, TokenRows x, const Routing* routing, std::span<float> y);

  Engine& engine_;
  const RunInputs& inputs_;
  const RunOptions& options_;
  Device* device_;
  std::size_t num_steps_ = 0;    // of layers on devices
  std::size_t num_grouped_ = 0;  // of these, with grouped matmuls on this rank
  std::optional<DeviceLane> lane_;
  std::vector<RunLayer> layers_;
  std::optional<GraphLane> graph_lane_;
  std::vector<std::unique_ptr<GraphLayer>> graphs_;  // of each of them, where steps are graphs
};

}  // namespace moewe
