#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "placement/placement.hpp"
#include "runtime/agree.hpp"
#include "runtime/engine.hpp"
#include "runtime/experts.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/router.hpp"
#include "runtime/slot_table.hpp"
#include "runtime/weight_source.hpp"

namespace moewe {

/// A placement and the weights that this rank's slots hold under it. Immutable.
struct LayerEpoch {
  Placement placement;
  SlotTable slots;
};

/// One Mixture-of-Experts layer, spread over the ranks of its engine. Borrows the engine, which outlives it.
class MoeLayer {
 public:
  /// Collective: all ranks construct the same layers in the same order. Reads from `source` the router and
  /// the experts that `placement` gives to this rank, and keeps no reference to it. Throws a shared Error
  /// when any rank fails or when ranks pass different sizes.
  MoeLayer(Engine& engine, const LayerSpec& spec, Placement placement, const WeightSource& source);

  /// Collective and blocking: one step. `x` and `y` are [num_tokens, hidden], row-major f32, of this rank's
  /// own tokens; any number of them, none included, and different numbers on different ranks. On return y
  /// holds
  ///
  ///   y[t] = sum over k of weight[t, k] * expert[t, k](x[t]).
  ///
  /// Throws a shared Error when a rank's input is unusable or ranks disagree: the layer stays usable. Any
  /// other Error is local, and the engine must not be used again.
  void forward(std::span<const float> x, std::span<float> y);

  /// The same with the caller's own choice of experts and weights instead of the router's.
  void forward(std::span<const float> x, const Routing& routing, std::span<float> y);

  const LayerSpec& spec() const { return spec_; }
  const Placement& placement() const { return epoch_->placement; }

  /// Of the last step on this engine; valid until the next one.
  const Routing& routing() const { return *last_routing_; }
  const StepReport& report() const { return report_; }

 private:
  void step(std::span<const float> x, const Routing* given, std::span<float> y);

  /// Never throws: what goes wrong on one rank travels to all in the agreement.
  StepProposal route(std::span<const float> x, const Routing* given, std::span<const float> y);
  std::size_t check_sizes(std::span<const float> x, std::span<const float> y) const;
  void settle(const Agreement& agreement, const ReturnTable& returned);
  void load_router(const WeightSource& source);
  StepHeader header(Operation operation, const Placement& placement) const;
  StepShape shape_of_step() const;

  Engine& engine_;
  LayerSpec spec_;
  std::size_t number_;
  std::optional<Router> router_;
  std::optional<Experts> experts_;
  std::shared_ptr<const LayerEpoch> epoch_;  // a step holds the one that it began with
  StepReport report_;
  const Routing* last_routing_ = nullptr;
};

}  // namespace moewe
