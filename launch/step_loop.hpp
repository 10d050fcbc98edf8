#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
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
#include "launch/step_inputs.hpp"
#include "launch/step_totals.hpp"
#include "launch/timeline.hpp"

namespace moewe {

/// Runs all layers of all steps on this rank, and takes digest, comparison and output outside the timed
/// parts. Keeps the rank's position up to date, and, with an output, what complete steps have computed.
class StepLoop {
 public:
  /// Collective: takes its memory, begins the files that the run writes, and loads the layers. Borrows
  /// everything; `device` is what the layers are on, null for cores. Throws a shared InvalidInput, among
  /// others, when the run cannot go on from what is kept.
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
  const RunLayers& layers() const { return layers_; }

  const RunLearning& learnt() const { return *learning_; }

  /// Nothing where no expert can move.
  RebalanceTotals rebalanced() const { return rebalancing_ ? rebalancing_->totals() : RebalanceTotals{}; }

 private:
  // Parts of the constructor, in order. The last four are collective.
  void allocate();
  void begin_output();
  void resume();
  void begin_timeline();
  void begin_rebalancing();

  /// Collective, as are all that follow.
  void check_resumed();
  bool run_steps();
  void run_layers(std::size_t step);
  void run_layer(std::size_t step, std::size_t i);
  StepOutcome compute_layer(std::size_t step, std::size_t i);
  StepOutcome forward(std::size_t i);
  void move_experts(std::size_t step, std::uint64_t num_engine_steps);
  void keep(std::size_t num_steps);
  bool is_to_end();

  /// Local.
  void compare(std::size_t layer, const StepOutcome& outcome);
  std::span<float> results();

  Engine& engine_;
  const RunInputs& inputs_;
  const RunOptions& options_;
  RunPosition& position_;
  RunLayers layers_;
  std::optional<StepInputs> step_inputs_;
  Buffer results_;  // of one layer in one step: [tokens of this rank, hidden]
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
};

}  // namespace moewe
