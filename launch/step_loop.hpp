#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "launch/options.hpp"
#include "launch/output_digest.hpp"
#include "launch/output_file.hpp"
#include "launch/rebalancing.hpp"
#include "launch/reference_check.hpp"
#include "launch/run_inputs.hpp"
#include "launch/run_keeper.hpp"
#include "launch/run_layers.hpp"
#include "launch/run_learning.hpp"
#include "launch/run_position.hpp"
#include "launch/timeline.hpp"

namespace moewe {

/// What the steps that were run here did on this rank.
struct StepTotals {
  std::vector<double> step_times;                ///< of each step, all layers
  std::array<double, num_phases> phase_times{};  ///< of all steps together
  std::int64_t assigned = 0;                     ///< for this rank's tokens
  std::int64_t computed = 0;                     ///< by this rank's experts
  std::vector<double> first_imbalance;           ///< per layer, first step of all
  std::vector<double> last_imbalance;            ///< per layer, last step

  // The same on every rank, with what an earlier run kept.
  std::vector<OverflowReport> overflow;  ///< per layer, sums of all steps; empty where dispatch is dropless
  std::size_t most_rounds = 1;           ///< of any step
};

/// Runs all layers of all steps on this rank, and takes digest, comparison and output outside the timed
/// parts. Keeps the rank's position up to date, and, with an output, what complete steps have computed.
class StepLoop {
 public:
  /// Collective. Borrows everything. Throws a shared InvalidInput, among others, when the run cannot go on
  /// from what is kept.
  /// `device` is what the layers are on, null for cores.
  StepLoop(Engine& engine, const RunInputs& inputs, const RunOptions& options, Device* device,
           RunPosition& position);

  /// Collective. Returns whether all steps have been run: where a rank was asked to end by SIGTERM, all end
  /// after the same step, which is kept.
  bool run();

  /// Local. Once all results are written: nobody needs to go on with this run.
  void forget_kept() noexcept;

  const StepTotals& totals() const { return totals_; }

  /// What an earlier run had done, over all ranks; no steps where this one began anew.
  const RunTotals& before() const { return before_; }
  const ReferenceCheck& reference() const { return *reference_; }
  OutputDigest& digest() { return digest_; }
  const LayerSpec& spec() const { return inputs_.spec(); }
  const RunLayers& layers() const { return layers_; }

  const RunLearning& learnt() const { return *learning_; }

  /// Nothing where no expert can move.
  RebalanceTotals rebalanced() const { return rebalancing_ ? rebalancing_->totals() : RebalanceTotals{}; }

 private:
  TotalsShape shape_of_totals() const;
  void resume();
  void check_resumed();
  bool run_steps();
  void run_layers(std::size_t step);
  void keep(std::size_t num_steps);
  bool is_to_end();
  void move_experts(std::size_t step, std::uint64_t num_engine_steps);
  StepOutcome compute_layer(std::size_t step, std::size_t i);
  void run_layer(std::size_t step, std::size_t i);
  void read_inputs(std::size_t layer, std::size_t step);
  void read_rows(std::size_t layer, std::size_t step);
  StepOutcome forward(std::size_t i);
  void account(const StepReport& report, std::size_t i);
  void compare(std::size_t layer, const StepOutcome& outcome);

  Engine& engine_;
  const RunInputs& inputs_;
  const RunOptions& options_;
  RunPosition& position_;
  TokenRange own_tokens_;
  RunLayers layers_;
  std::optional<MigrationBudget> budget_;
  std::optional<Rebalancing> rebalancing_;
  std::optional<RunLearning> learning_;
  std::optional<Timeline> timeline_;
  std::vector<std::vector<std::int64_t>> loads_;  // of each layer, per expert, in the present step
  std::optional<ReferenceCheck> reference_;
  std::optional<OutputFile> output_;
  std::optional<RunKeeper> keeper_;
  OutputDigest digest_;
  RunTotals before_;
  StepTotals totals_;
  Buffer x_;
  Buffer y_;
  GrowingBuffer forced_experts_;
  GrowingBuffer forced_weights_;
  Routing forced_routing_;
};

}  // namespace moewe
