#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "benchmarks/harness.hpp"
#include "benchmarks/migration/migration_case.hpp"
#include "launch/forced_routing.hpp"
#include "launch/rebalancing.hpp"
#include "launch/run_layer.hpp"
#include "runtime/moe_layer.hpp"

namespace moewe::bench {

/// What migrating is good for: steps with skewed loads, with and without moves, against steps with even ones,
/// in turns, once each has run its first steps. Choices of experts are drawn anew for every step, outside
/// of what is timed; whether experts move is decided as `moewe run --rebalance auto` decides it, and the time
/// for that is the step's. Steps begin together, and the slowest rank's time counts.
class GainContest {
 public:
  /// Collective. Throws as MoeLayer does.
  GainContest(Communicator& communicator, const Backend& backend, const MigrationCase& migration_case);

  /// Collective: runs of all contestants in turns, in another order each time. Throws where results differ
  /// that should not.
  void run();

  /// Of all runs; the same on every rank.
  struct Result {
    std::string name;
    Spread median_s;                 ///< of the steps of each run
    Spread ratio;                    ///< run by run, to even loads
    double imbalance = 0;            ///< largest over mean rank load, in the mean of all counted steps
    std::size_t settling_moves = 0;  ///< experts that came to another rank before anything was counted
    std::size_t moves = 0;           ///< and since
    double deciding_share = 0;       ///< of the step time, on the rank with most
    std::vector<std::string> log{};  ///< a line for each decision
  };

  /// Even, even again, skewed; skewed with copies that stay where they are; skewed and even where experts
  /// move by themselves.
  std::vector<Result> results() const;

 private:
  using Layers = std::vector<RunLayer>;  // of one

  /// What is run in turns.
  struct Way {
    std::string name;
    bool is_skewed;
    Layers& layers;
    ForcedRouting routing;
    Batch batch;
    std::optional<Rebalancing> rebalancing{};
    std::size_t num_steps = 0;
    std::vector<double> medians{};
    double seconds = 0;
    double deciding_seconds = 0;
    double deciding_share = 0;
    double sum_of_imbalances = 0;
    std::size_t num_counted = 0;
    std::size_t settling_moves = 0;
  };

  Layers make_layers(std::size_t spares, std::size_t staging);
  void add_way(const char* name, bool is_skewed, Layers& layers);
  double run_step(Way& way);
  double run_steps(Way& way, std::size_t num_steps);
  void settle();
  void forget(Way& way);
  void check();

  std::unique_ptr<Communicator> communicator_;  // for the measuring
  MigrationCase case_;
  Engine engine_;
  Layers still_;
  Layers copied_;
  Layers moving_;
  Layers watched_;  // with even loads
  MigrationBudget budget_;
  std::vector<std::unique_ptr<Way>> ways_;
};

}  // namespace moewe::bench
