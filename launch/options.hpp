#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launch/calibration.hpp"
#include "launch/overlap_mode.hpp"
#include "launch/rebalance_request.hpp"
#include "launch/routing_choice.hpp"
#include "launch/run_device.hpp"
#include "runtime/layer_options.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/ledger.hpp"
#include "runtime/path_choice.hpp"

namespace moewe {

/// Which model is run: exactly one of these.
struct ModelChoice {
  std::optional<std::filesystem::path> checkpoint;
  std::optional<std::string> preset;
  std::optional<LayerSpec> custom;
};

/// What `moewe run` was asked for.
struct RunOptions {
  ModelChoice model;
  RoutingChoice routing;
  std::optional<std::filesystem::path> input;
  std::optional<std::filesystem::path> output;
  std::optional<std::filesystem::path> json;
  std::optional<std::filesystem::path> placement;  ///< none: contiguous, or planned
  bool plans_placement = false;                    ///< for the loads
  std::optional<std::filesystem::path> loads;      ///< of earlier runs
  std::optional<std::filesystem::path> cost;       ///< of a layer's steps
  std::optional<std::filesystem::path> save_placement;
  std::optional<std::filesystem::path> save_loads;
  std::optional<std::filesystem::path> timeline;

  std::optional<std::vector<std::size_t>> layers;  ///< ascending
  std::optional<std::size_t> tokens;               ///< per step, over all ranks
  std::optional<std::size_t> tokens_per_rank;
  std::size_t steps = 1;
  std::uint64_t seed = 0;

  LayerOptions layer;
  RebalanceRequest rebalance;
  ExchangeRequest exchange;
  OverlapMode overlap = OverlapMode::shared;
  VerifyLevel verify = VerifyLevel::ledger;
  DeviceRequest device = DeviceRequest::cpu;
  DeviceMode device_mode = DeviceMode::eager;
  std::optional<std::size_t> threads;       ///< per rank; none: chosen from the machine
  std::optional<std::size_t> memory_limit;  ///< bytes per rank; none: what the machine has
  double timeout_s = 120;
  std::optional<std::size_t> ranks;  ///< threads of this process that act as ranks

  bool resume = false;  ///< from what an earlier run with the same output kept

  bool help = false;

  /// Whether the loads of the run are counted beside what its steps need of them.
  bool keeps_loads() const { return save_loads || rebalance.is_on(); }

  /// All that must be equal on every rank, each as it would be typed.
  std::vector<std::string> shared_settings() const;
};

/// Throws InvalidInput with one sentence for anything that cannot be used.
RunOptions parse_run_options(const std::vector<std::string>& arguments);

std::string run_help();

/// "0,2-4" -> 0 2 3 4. Throws InvalidInput.
std::vector<std::size_t> parse_layers(const std::string& text);

/// As it would be typed, and "none (dropless)" without.
std::string describe(const std::optional<CapacityOptions>& capacity);

}  // namespace moewe
