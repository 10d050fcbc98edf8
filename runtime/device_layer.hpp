#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "placement/placement.hpp"
#include "runtime/agree.hpp"
#include "runtime/device_experts.hpp"
#include "runtime/device_lane.hpp"
#include "runtime/device_migration.hpp"
#include "runtime/device_weights.hpp"
#include "runtime/engine.hpp"
#include "runtime/layer_options.hpp"
#include "runtime/migration_rules.hpp"
#include "runtime/step_split.hpp"
#include "runtime/token_rows.hpp"

namespace moewe {

/// Why layers with these options do not run on devices so far, or empty.
std::string reason_against_devices(const LayerOptions& options);

/// One Mixture-of-Experts layer whose tokens, weights and experts are on its ranks' devices; beside MoeLayer,
/// which computes on their cores. All that it computes it computes in kernels, on the lane's queue: rows are
/// pushed into the memory of the device that computes them, and their outputs back, or both go as messages
/// (DeviceExchange). The host agrees with the other ranks in every step, for which it waits for the device
/// once, and looks at flags and for messages.
///
/// Outputs have the same bits for any number of ranks and any placement, as MoeLayer's do, but not MoeLayer's
/// bits: sums are made in another order. In f32 they are those of the emulated device on any GPU; see
/// multiply_rows.hpp for bf16.
class DeviceLayer {
 public:
  static constexpr std::string_view arranged_name = "device rows, arranged";

  /// Collective: all ranks construct the same layers in the same order. Borrows engine and lane, whose sizes
  /// are the layer's. Reads from `source` what this rank needs, and keeps no reference to it. Throws a shared
  /// Error when any rank fails, when ranks pass different sizes, or for options that devices do not have.
  DeviceLayer(Engine& engine, DeviceLane& lane, const LayerSpec& spec, Placement placement,
              const WeightSource& source, const LayerOptions& options = {});

  /// Collective. The same for callers who bring experts of their own: no weights, no router and no shared
  /// expert, so that every step needs a routing. The function lives as long as the layer. A step in which a
  /// slot gets more than the arrangement's capacity throws a shared Error.
  DeviceLayer(Engine& engine, DeviceLane& lane, const LayerSpec& spec, Placement placement,
              DeviceExpertFunction experts, const RowArrangement& arrangement,
              const LayerOptions& options = {});
  ~DeviceLayer();
  DeviceLayer(const DeviceLayer&) = delete;
  DeviceLayer& operator=(const DeviceLayer&) = delete;

  /// Collective and blocking: one step, of tokens on the device. `x` holds [num_tokens, hidden] of the
  /// layer's dtype and is complete; `y` [num_tokens, hidden] f32 is complete on return. What it computes and
  /// throws is as of MoeLayer::forward. `given` replaces the router's choice; it is in host memory.
  void forward(const std::byte* x, std::size_t num_tokens, float* y, const Routing* given = nullptr);

  /// The same of tokens in host memory, which are copied to the device and back.
  void forward(TokenRows x, std::span<float> y);
  void forward(TokenRows x, const Routing& routing, std::span<float> y);

  /// Collective, as MoeLayer::migrate: begins to bring the experts to where `next` has them, from device to
  /// device, while steps go on under the placement that the layer has. For layers with spare or staging
  /// slots; one layer of a lane migrates at a time.
  void migrate(Placement next, const DeviceMigrationOptions& options = {});

  /// Of the layer's migrations so far.
  const MigrationReport& migration() const;

  const LayerSpec& spec() const { return spec_; }
  const LayerOptions& options() const { return options_; }
  /// Of the step before; valid until the next.
  const Placement& placement() const { return placement_; }

  /// For GraphLayer.
  const DeviceWeights& weights() const { return *weights_; }
  std::size_t number() const { return number_; }
  bool has_own_experts() const { return !function_; }

  /// Of the step before, until the next begins; in host memory. The routing as after overflow, where the
  /// capacity is bounded.
  const Routing& routing() const { return routing_; }
  const StepReport& report() const { return report_; }

 private:
  /// A step's tokens.
  struct Tokens {
    const std::byte* x = nullptr;  ///< on the device
    float* y = nullptr;            ///< the same
    std::size_t count = 0;
    const Routing* given = nullptr;
    TokenRows on_host{std::span<const std::byte>(), Dtype::f32};  ///< where they come from the host
    std::span<float> y_on_host;
  };

  void construct(const WeightSource* source);
  void check() const;
  StepHeader header(Operation operation, const Placement& placement) const;
  void prepare_migration();
  void check_can_migrate(const Placement& next, const DeviceMigrationOptions& options);
  void begin_epoch();
  void seal_rows(const Tokens& tokens);
  void return_audited();
  void forward_on_host(const Tokens& tokens);
  void run(const Tokens& tokens);

  /// Never throws: what goes wrong on one rank travels to all in the agreement.
  StepProposal route(const Tokens& tokens);
  void await_copies() noexcept;
  void check_sizes(const Tokens& tokens) const;
  void choose(const Tokens& tokens);
  void take(const Tokens& tokens);
  void make_room_to_decide(const Tokens& tokens);
  void decide(Agreement agreement);
  void bound(std::size_t num_tokens_of_all);
  void put_decided();
  void plan(const Tokens& tokens);
  void dispatch(const Tokens& tokens);
  void start_shared_expert(const Tokens& tokens);
  void expect_places(std::span<const std::int64_t> per_slot);
  std::vector<std::int64_t> places_of_ranks(std::span<const std::int64_t> per_slot) const;
  std::int64_t places_by_source(std::int64_t num_assignments) const;
  std::size_t arranged_bytes(std::size_t num_places) const;
  void group();
  void run_own_experts();
  void run_function();
  void run_function_by_slot();
  void run_function_by_source();
  void give_back();
  void combine(const Tokens& tokens);
  void settle();

  Engine& engine_;
  DeviceLane& lane_;
  LayerSpec spec_;
  LayerOptions options_;
  Placement placement_;
  std::size_t number_;
  DeviceExpertFunction function_;  // empty where the experts are the layer's own
  RowArrangement arrangement_;     // for it
  std::optional<DeviceWeights> weights_;
  DeviceBuffer arranged_;                  // rows for the function, then results
  std::vector<std::int64_t> most_places_;  // of rows, on each rank, that there is room for
  std::uint64_t last_split_ = 0;           // its digest; ranks compare it when they agree on the next step
  MigrationRoom room_;                     // where experts can migrate
  std::unique_ptr<DeviceMigration> migration_;  // null where they cannot
  std::optional<Placement> next_;               // on the way to it

  // Of the step that is under way.
  std::uint64_t generation_ = 0;
  Lane* account_ = nullptr;
  std::vector<std::int64_t> quotas_;
  std::vector<std::int64_t> promised_;  // to each slot of this rank
  std::size_t num_promised_ = 0;
  std::size_t num_places_ = 0;  // for the function
  std::vector<std::int64_t> from_sources_;
  Routing routing_;
  bool has_changed_ = false;  // in what its tokens chose, by overflow
  StepReport report_;
};

}  // namespace moewe
