#pragma once

#include <limits>
#include <optional>

#include "runtime/device_layer.hpp"
#include "runtime/expert_matmuls.hpp"
#include "tests/support/device_side.hpp"
#include "tests/support/layer_runs.hpp"

namespace moewe::test {

/// A layer with generated weights on a rank's device, and all that it needs.
class LayerOnDevice {
 public:
  struct Options {
    LayerOptions layer{};
    std::size_t max_tokens = 256;
    std::size_t num_slots = 0;  ///< of a layer on this rank, where there are more than the placement has
    EngineOptions engine{};
    DeviceExpertFunction function{};  ///< instead of generated weights
    RowArrangement arrangement{};     ///< for it
  };

  LayerOnDevice(Communicator& communicator, const Backend& backend, const LayerSpec& spec,
                const Placement& placement, const Options& options)
      : side_(communicator), engine_(communicator, backend, options.engine) {
    if (!side_.device) return;
    const DeviceSizes sizes{
        spec,
        options.layer.dtype,
        options.max_tokens,
        std::max(options.num_slots, placement.experts_of(engine_.communicator().rank()).size()) +
            options.layer.spare_slots,
        placement.num_slots() + options.layer.spare_slots * placement.num_ranks(),
        options.layer.combine,
        choose_expert_matmuls(*side_.device, spec, options.layer.dtype, options.layer.combine).may_group,
        options.layer.needs_selection()};
    lane_.emplace(engine_, *side_.device, sizes);
    if (options.function) {
      layer_.emplace(engine_, *lane_, spec, placement, options.function, options.arrangement, options.layer);
    } else {
      layer_.emplace(engine_, *lane_, spec, placement, GeneratedWeights(spec, weights_seed), options.layer);
    }
  }

  /// False where there is no GPU to run on.
  explicit operator bool() const { return side_.device != nullptr; }
  DeviceLayer* operator->() { return &*layer_; }
  const DeviceLayer* operator->() const { return &*layer_; }
  Engine& engine() { return engine_; }
  DeviceLane& lane() { return *lane_; }

  /// What it makes of these tokens; by its router without a routing.
  std::vector<float> forward(const std::vector<float>& x, const Routing* routing = nullptr) {
    std::vector<float> y(x.size(), std::numeric_limits<float>::quiet_NaN());
    const StoredRows rows(x, layer_->options().dtype);
    routing == nullptr ? layer_->forward(rows, y) : layer_->forward(rows, *routing, y);
    return y;
  }

 private:
  Side side_;
  Engine engine_;
  std::optional<DeviceLane> lane_;
  std::optional<DeviceLayer> layer_;
};

}  // namespace moewe::test
