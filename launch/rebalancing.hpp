#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "launch/migration_budget.hpp"
#include "launch/overlap_mode.hpp"
#include "launch/rebalance_meter.hpp"
#include "launch/rebalance_request.hpp"
#include "launch/run_layer.hpp"
#include "placement/rebalance.hpp"
#include "placement/slowness_estimate.hpp"

namespace moewe {

/// What moving experts has done and cost in a run. The same on every rank but for the time.
struct RebalanceTotals {
  std::size_t epochs = 0;            ///< switched to
  std::size_t moves = 0;             ///< experts that came to another rank
  std::size_t bytes = 0;             ///< of these
  std::size_t cancelled = 0;         ///< epochs that were given up
  std::size_t budget_bytes = 0;      ///< of weights that a rank sends in one step of a layer, at the end
  std::string budget_reason;         ///< why as many
  double stall_s = 0;                ///< in which this rank decided and began, and computed nothing
  std::vector<Millionths> slowness;  ///< of ranks, as plans know it; empty: all alike
  MoveCosts costs;                   ///< as decisions take them
  std::vector<std::string> log;      ///< a line for each decision to move, and what else was to be told
};

/// Lets the experts of a run's layers migrate where their loads ask for it: one layer at a time, the one that
/// saves most per byte first, and in stages for which a staging slot on each rank is enough.
class Rebalancing {
 public:
  /// Local. Borrows the layers, which have all been constructed with a staging slot and nothing else to
  /// spare, and the budget, which may change between steps. `numbers` are what people call the layers;
  /// `costs` are of one of them, null where nobody knows.
  Rebalancing(Communicator& communicator, const RebalanceRequest& request, const MigrationBudget& budget,
              std::span<RunLayer> layers, std::vector<std::size_t> numbers,
              const CostCoefficients* costs = nullptr);

  /// Local, in each step for each layer.
  void count(const StepOutcome& outcome) { meter_.count(outcome.report, outcome.seconds); }

  /// Collective, between two steps of all layers. `loads` are of each layer the assignments of all ranks per
  /// expert in step number `step`. Returns the seconds that it took.
  double step_done(std::uint64_t step, std::span<const std::vector<std::int64_t>> loads);

  /// Collective, after the last step: steps without tokens bring the stage that is under way to its end, so
  /// that no weights are on their way any more.
  void finish();

  RebalanceTotals totals() const;

 private:
  /// A layer on its way to a plan.
  struct Way {
    std::size_t i;
    Placement plan;
    double seconds = 0;  ///< for deciding on it and beginning its stages
  };

  /// Notices that a stage has been reached, or given up.
  void follow();
  /// Of `decisions`, which are all to move, of the layers `deciding`, one is carried out; others only once it
  /// is done.
  void begin(std::vector<RebalanceDecision> decisions, std::span<const std::size_t> deciding);
  void begin_stage();
  void measure(std::uint64_t step);
  void learn_speeds(std::uint64_t step, std::span<const WindowMeasures> of_ranks);
  void learn_costs(std::span<const WindowMeasures> of_ranks);
  double seconds_of_sending() const;
  std::uint64_t bytes_per_step(const RunLayer& layer) const;
  void tell(std::size_t i, const std::string& line);
  void warn(const std::string& line) const;
  void note(const std::string& line);

  Communicator& communicator_;
  std::span<RunLayer> layers_;
  std::vector<std::size_t> numbers_;
  Topology topology_;
  RebalanceRequest request_;
  const MigrationBudget& budget_;
  std::vector<Rebalancer> rebalancers_;  // of each layer
  std::vector<Placement> plans_;         // that the layers have reached, with the epochs of their rebalancers
  std::vector<std::size_t> num_given_up_;  // epochs of each layer
  std::optional<Way> way_;
  RebalanceMeter meter_;
  SlownessEstimate slowness_;
  MoveCostEstimate costs_;
  double seconds_ = 0;
  bool has_begun_stage_ = false;  // in this step_done()
  std::vector<std::string> log_;
  bool is_told_;  // on this rank people read what there is to say
};

/// Of one expert, in memory and on the wire.
std::size_t expert_bytes(const LayerSpec& spec, Dtype dtype);

}  // namespace moewe
