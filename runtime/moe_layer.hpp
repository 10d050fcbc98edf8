#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "placement/placement.hpp"
#include "runtime/agree.hpp"
#include "runtime/engine.hpp"
#include "runtime/experts.hpp"
#include "runtime/layer_epoch.hpp"
#include "runtime/layer_options.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/migration.hpp"
#include "runtime/migration_rules.hpp"
#include "runtime/rounds.hpp"
#include "runtime/router.hpp"
#include "runtime/slot_pool.hpp"
#include "runtime/stored_split.hpp"
#include "runtime/token_rows.hpp"
#include "runtime/weight_source.hpp"

namespace moewe {

/// A step of a layer in flight. Made by MoeLayer::start, and to be finished.
struct LayerStep {
  Lane* lane = nullptr;
  std::uint64_t number = 0;  ///< of the engine's steps, from 1
  TokenRows x{std::span<const std::byte>(), Dtype::f32};
  std::span<float> y;
  Routing routing;                          ///< as routed; after overflow, where the capacity is bounded
  bool is_routed_here = false;              ///< in the lane's table
  bool is_decided = false;                  ///< the same
  std::shared_ptr<const LayerEpoch> epoch;  ///< until it is finished
  std::size_t num_tokens = 0;
  std::size_t round = 0;
  std::size_t num_rounds = 1;  ///< 0 where no rank has a token
  std::size_t num_shared = 0;  ///< tokens of the round that the shared expert has computed
  RoundShape shape;
  bool is_split_as_stored = false;              ///< by each rank, before they agreed
  std::vector<std::int64_t> source_counts;      ///< of all ranks, where they came with the agreement
  std::vector<std::int64_t> per_slot;           ///< assignments of all ranks, of all rounds
  SlotChoice choice;                            ///< of the tokens of the rounds that are not begun
  std::vector<std::int64_t> expected_per_slot;  ///< of this rank, in this round
  std::size_t num_expected = 0;                 ///< in sum
  std::size_t num_expected_on_node = 0;         ///< the same, of all ranks of this rank's node
  StepReport report;

  TokenRange tokens_of_round() const {
    const std::size_t first = num_tokens * round / num_rounds;
    return {first, num_tokens * (round + 1) / num_rounds - first};
  }
};

/// One Mixture-of-Experts layer, spread over the ranks of its engine. Borrows the engine, which outlives it.
class MoeLayer {
 public:
  /// Collective: all ranks construct the same layers in the same order. Reads from `source` the router, the
  /// shared expert and the experts that `placement` gives to this rank, and keeps no reference to it. Throws
  /// a shared Error when any rank fails or when ranks pass different sizes.
  MoeLayer(Engine& engine, const LayerSpec& spec, Placement placement, const WeightSource& source,
           const LayerOptions& options = {});

  /// Collective. The same for callers who bring experts of their own: no weights, no router and no shared
  /// expert, so that every step needs a routing. The function lives as long as the layer.
  MoeLayer(Engine& engine, const LayerSpec& spec, Placement placement, ExpertFunction experts,
           const LayerOptions& options = {});
  MoeLayer(const MoeLayer&) = delete;
  MoeLayer& operator=(const MoeLayer&) = delete;

  /// Collective and blocking: one step. `x` holds this rank's own tokens, [num_tokens, hidden] in the layer's
  /// dtype, `y` as many results in f32; any number of tokens, none included, and different numbers on
  /// different ranks. On return y holds
  ///
  ///   y[t] = (sum over k of weight[t, k] * expert[t, k](x[t])) + shared expert(x[t]).
  ///
  /// Throws a shared Error when a rank's input is unusable, ranks disagree, a capacity is exceeded under the
  /// policy `error`, or the step does not fit into the memory limit even in rounds: the layer stays usable.
  /// Any other Error is local, and the engine must not be used again.
  void forward(TokenRows x, std::span<float> y);

  /// The same with the caller's own choice of experts and weights instead of the router's. An expert that a
  /// token chose twice computes it twice, and counts twice against its capacity.
  void forward(TokenRows x, const Routing& routing, std::span<float> y);

  /// Collective. The first part of forward: returns once the rows of its first round are on their way.
  /// Between start and finish other steps of the engine can be started, as many as it has lanes: half a
  /// batch's rows travel while the other half is computed. x, y and what `routing` points to stay valid, and
  /// x unchanged, until finish has returned. Errors as of forward; a step whose start threw is not finished.
  LayerStep start(TokenRows x, std::span<float> y);
  LayerStep start(TokenRows x, const Routing& routing, std::span<float> y);

  /// Blocking; may be left out, else on all ranks alike, once for each step between start and finish.
  /// Computes, of the first round, what other ranks wait for: the outputs travel back while other steps are
  /// computed. Does nothing where outputs are kept in a ring, which needs sums in between.
  void compute(LayerStep& step);

  /// Collective and blocking: the rest. Steps are finished in the order in which they were started; throws
  /// InvalidInput for one that is not the oldest in flight, which can still be finished in its turn.
  void finish(LayerStep& step);

  /// Collective: begins to bring the experts to where `next` has them, while steps go on under the placement
  /// that the layer has. The first step that begins after all ranks have told one another that they are ready
  /// is the first under `next`; outputs have the same bits before and after. `next` has a later epoch, and
  /// gives no rank more experts than it has slots and spare slots for, nor more new ones than can arrive
  /// beside those it has. One layer of an engine migrates at a time. Throws a shared Error, and begins
  /// nothing, when that is not so or ranks pass different things. Whatever goes wrong later cancels the
  /// migration on all ranks, and is told by migration().
  void migrate(Placement next, const MigrationOptions& options = {});

  /// Of the layer's migrations so far.
  const MigrationReport& migration() const;

  const LayerSpec& spec() const { return spec_; }
  const LayerOptions& options() const { return options_; }
  /// Of the steps that are started now. Valid until a step is started.
  const Placement& placement() const { return epoch_->placement; }

  /// Of the layer's step that was finished last. Valid until the next step of any layer of the engine is
  /// started; of a given routing that was not changed by a capacity, as long as the caller's memory.
  const Routing& routing() const { return last_routing_; }

  /// Of the layer's step that was finished last.
  const StepReport& report() const { return report_; }

  /// How matmuls are used on this machine; none where a caller's function computes.
  std::optional<Matmul::Rows> matmul_rows() const;

 private:
  void construct(Placement placement, const WeightSource* source);
  std::size_t most_counts() const;
  SlotTable load(const Placement& placement, const WeightSource& source);
  void load_router(const WeightSource& source);
  void load_shared_expert(const WeightSource& source);
  WeightAudit weight_audit(const Placement& placement, const SlotTable& slots) const;
  std::shared_ptr<const LayerEpoch> make_epoch(Placement placement, SlotTable slots) const;
  void prepare_migration();
  void check_can_migrate(const MigrationOptions& options) const;
  void add_migration(const MigrationPlan& plan, const MigrationOptions& options, StepHeader& header) const;
  void begin_epoch();
  LayerStep start_step(TokenRows x, const Routing* given, std::span<float> y);
  void route_and_dispatch(LayerStep& step, const Routing* given);

  /// Never throws: what goes wrong on one rank travels to all in the agreement.
  StepProposal route(LayerStep& step, const Routing* given);
  void check_sizes(const LayerStep& step) const;
  void check_given(const LayerStep& step, const Routing& given) const;
  void decide(LayerStep& step, Agreement agreement);
  std::vector<std::int64_t> count_own(LayerStep& step, std::size_t room);
  void take_counts(LayerStep& step, std::vector<std::int64_t> counts) const;
  bool agrees_on_sources(const LayerStep& step) const;
  void split(LayerStep& step);
  StepSplit split_exactly(const LayerStep& step) const;
  void expect(LayerStep& step, std::span<const std::int64_t> per_slot,
              std::span<const std::int64_t> per_rank) const;
  std::size_t decide_rounds(const LayerStep& step, const Agreement& agreement);
  Error does_not_fit(const LayerStep& step, const StepBounds& bounds) const;
  void plan_routing_memory(const LayerStep& step, MemoryPlan& memory) const;

  /// Before the lane's routing tables grow.
  void make_room_for_routing(const LayerStep& step);
  void plan_memory_of_round(const LayerStep& step);
  /// What a step's round works on.
  struct RoundRows {
    TokenRows x;
    std::span<float> y;
  };
  RoundRows rows_of_round(const LayerStep& step) const;
  void begin_round(LayerStep& step, PhaseClock& clock);
  Flow flow() const;
  RoundAudit audit_of(std::uint64_t generation) const;
  void agree_on_round(LayerStep& step);
  void run_rounds(LayerStep& step);
  void compute_round(LayerStep& step, PhaseClock& clock);
  void finish_round(LayerStep& step, PhaseClock& clock);
  std::size_t num_left_to_share(const LayerStep& step) const;
  /// The next tokens of the round, at most so many.
  void run_shared_expert_on(LayerStep& step, std::size_t most_tokens, PhaseClock& clock);
  void combine_tokens(LayerStep& step, TokenRange tokens);
  void run_experts_on(const RowTable& rows, const LayerStep& step);
  void settle(LayerStep& step);
  StepHeader header(Operation operation, const Placement& placement, std::uint64_t step) const;
  RowFormat row_format() const { return {spec_.expert.hidden, options_.dtype}; }

  Engine& engine_;
  LayerSpec spec_;
  LayerOptions options_;
  ExpertFunction function_;  // empty where the experts are the layer's own
  std::size_t number_;
  std::optional<Router> router_;
  std::optional<ExpertMlp> experts_;
  std::optional<ExpertMlp> shared_expert_;
  ExpertWeights shared_weights_;
  std::unique_ptr<SlotPool> pool_;
  MigrationRoom room_;                       // where experts can migrate
  std::uint64_t layout_digest_ = 0;          // of packed weights, where experts can migrate
  std::shared_ptr<const LayerEpoch> epoch_;  // a step holds the one that it began with
  std::unique_ptr<Migration> migration_;     // null where no expert can migrate
  StoredSplit stored_split_;                 // of this rank, where splits are stored
  std::uint64_t last_split_ = 0;             // its digest; ranks compare it when they agree on the next step
  Routing last_routing_;
  StepReport report_;
};

}  // namespace moewe
