#include "launch/run_layers.hpp"

#include <fmt/format.h>
#include <numeric>

#include "benchmarks/harness.hpp"
#include "comm/together.hpp"
#include "launch/token_range.hpp"
#include "runtime/device_exchange.hpp"
#include "runtime/expert_matmuls.hpp"

namespace moewe {

DeviceSizes device_sizes(const Engine& engine, const RunInputs& inputs, const RunOptions& options,
                         const Device& device) {
  const Communicator& communicator = engine.communicator();
  const std::size_t num_ranks = communicator.size();
  const Placement placement = inputs.placement(inputs.layers().front(), num_ranks);
  return {
      .spec = inputs.spec(),
      .dtype = options.layer.dtype,
      .max_tokens = (inputs.tokens().num_tokens() + num_ranks - 1) / num_ranks,
      .num_slots = placement.experts_of(communicator.rank()).size(),
      .most_slots = placement.num_slots(),
      .combine = options.layer.combine,
      .may_group =
          choose_expert_matmuls(device, inputs.spec(), options.layer.dtype, options.layer.combine).may_group,
      .needs_selection = options.layer.needs_selection(),
      .is_audited = options.verify == VerifyLevel::audit,
      .num_by_message = num_by_message(
          choose_device_paths(communicator.topology(), communicator.rank(), engine.exchange_options()))};
}

void RunLayers::load() {
  Communicator& communicator = engine_.communicator();
  if (device_ != nullptr)
    lane_.emplace(engine_, *device_, device_sizes(engine_, inputs_, options_, *device_));
  if (device_ != nullptr && options_.device_mode == DeviceMode::graph) graph_lane_.emplace(engine_, *lane_);
  for (const std::size_t layer : inputs_.layers()) {
    Placement placement = inputs_.placement(layer, communicator.size());
    const auto weights = inputs_.model().weights(layer);
    if (device_ == nullptr) {
      layers_.emplace_back(std::make_unique<MoeLayer>(engine_, inputs_.spec(), std::move(placement), *weights,
                                                      options_.layer));
    } else {
      layers_.emplace_back(std::make_unique<DeviceLayer>(engine_, *lane_, inputs_.spec(),
                                                         std::move(placement), *weights, options_.layer));
    }
  }
  if (!graph_lane_) return;
  for (const RunLayer& layer : layers_) {
    graphs_.push_back(
        std::make_unique<GraphLayer>(*graph_lane_, *layer.on_device(), inputs_.routing() != nullptr));
  }
}

/// What ranks have not told one another in the step they do behind it, for the report.
StepOutcome RunLayers::run_graph(std::size_t i, TokenRows x, const Routing* routing, std::span<float> y) {
  GraphLayer& graph = *graphs_[i];
  StepOutcome outcome;
  outcome.begun = std::chrono::steady_clock::now();
  outcome.seconds = bench::seconds_of([&] { graph.forward(x, routing, y, lane_->sizes().max_tokens); });
  outcome.routings = {graph.routing()};
  StepReport& report = outcome.report;
  report.epoch = layers_[i].placement().epoch();
  report.num_rounds = 1;
  report.own_per_expert = count_assignments(graph.routing(), inputs_.spec().num_experts);
  report.assignments_per_expert = report.own_per_expert;
  engine_.communicator().all_reduce({.sums = report.assignments_per_expert, .minima = {}, .maxima = {}});
  report.computed_per_slot.assign(graph.computed_per_slot().begin(), graph.computed_per_slot().end());
  report.assignments_per_rank = all_gather_values(
      engine_.communicator(),
      std::accumulate(report.computed_per_slot.begin(), report.computed_per_slot.end(), std::int64_t{0}));
  return outcome;
}

StepOutcome RunLayers::run_step(std::size_t i, TokenRows x, const Routing* routing, std::span<float> y) {
  if (device_ == nullptr) return moewe::run_step(*layers_[i].on_cores(), options_.overlap, x, routing, y);
  if (!graphs_.empty()) return run_graph(i, x, routing, y);
  DeviceLayer& layer = *layers_[i].on_device();
  StepOutcome outcome;
  outcome.begun = std::chrono::steady_clock::now();
  outcome.seconds = bench::seconds_of([&] {
    if (routing != nullptr) {
      layer.forward(x, *routing, y);
    } else {
      layer.forward(x, y);
    }
  });
  outcome.report = layer.report();
  outcome.routings = {layer.routing()};
  ++num_steps_;
  if (outcome.report.are_matmuls_grouped) ++num_grouped_;
  return outcome;
}

RunPaths RunLayers::paths() const {
  const std::string& reason = engine_.carrier_reason();
  if (!lane_) return {engine_.paths(), "direct", engine_.carrier(), reason};
  const DeviceExchange& exchange = lane_->exchange();
  RunPaths paths{exchange.paths(), "push", engine_.carrier(), reason};
  const DeviceMessages* const messages = exchange.messages();
  if (messages == nullptr) return paths;
  const bool is_nccl = messages->carriage() == DeviceCarriage::nccl;
  if (is_nccl) paths.carrier = "nccl";
  paths.carrier_reason = is_nccl ? messages->carriage_reason()
                                 : fmt::format("{}; {}: {}", reason, describe(messages->carriage()),
                                               messages->carriage_reason());
  return paths;
}

std::string RunLayers::expert_matmuls() const {
  if (device_ == nullptr) return "";
  const ExpertMatmuls matmuls =
      choose_expert_matmuls(*device_, inputs_.spec(), options_.layer.dtype, options_.layer.combine);
  if (!matmuls.may_group) return matmuls.reason;
  return fmt::format("{} (grouped in {} of {} steps of rank 0)", matmuls.reason, num_grouped_, num_steps_);
}

}  // namespace moewe
