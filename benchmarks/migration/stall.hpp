#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/harness.hpp"
#include "benchmarks/migration/migration_case.hpp"
#include "runtime/moe_layer.hpp"

namespace moewe::bench {

/// How much longer steps take while experts migrate. One layer with one staging slot on each rank runs so
/// many steps, and all of it is either still or moving: then every rank exchanges its first expert with the
/// rank that is half of all ranks away, to and fro, and where one migration ends the next begins at once. So
/// the weights that are computed with, and the memory that is there, are the same in both. Every expert gets
/// as many tokens as every other, so that it makes no difference for the loads where they are; the choice of
/// experts is given, and no time goes into routing.
///
/// Steps follow one another without barriers, and a step's time is that from one end to the next on the rank
/// where that took longest: what a migration leaves for the next step to wait for is in it, and so is
/// beginning a migration.
class StallContest {
 public:
  /// Collective. Throws InvalidInput unless there are two ranks, and as many experts as ranks.
  StallContest(Communicator& communicator, const Backend& backend, const MigrationCase& migration_case);

  /// Collective: runs of all contestants in turns, in another order each time. Throws where results differ.
  void run();

  /// Of all runs; the same on every rank.
  struct Result {
    std::string name;
    std::size_t budget = 0;     ///< 0: nothing moved
    Spread median_s;            ///< of the steps of each run
    Spread p90_s;               ///< of the steps of each run
    Spread p90_ratio;           ///< run by run, to the one without moves
    Spread median_ratio;        ///< the same of the medians
    std::size_t moves = 0;      ///< experts that came to another rank
    std::size_t bytes = 0;      ///< of these
    double bytes_per_step = 0;  ///< that a rank sent, in the mean
    double progress_share = 0;  ///< of the step time, in sending and taking weights, on the rank with most
    Spread mebibyte_s;          ///< of each run: to send one and take one, on the slowest rank
  };

  /// Still, still again, and moving with each budget; where ranks share a node, through peer memory and as
  /// messages.
  std::vector<Result> results() const;

 private:
  /// What is run in turns.
  struct Way {
    std::string name;
    std::size_t budget = 0;
    PathRequest path = PathRequest::automatic;  // of weights
    std::vector<double> p90s{};
    std::vector<double> medians{};
    std::size_t moves = 0;
    std::size_t bytes = 0;
    std::size_t num_steps = 0;
    double seconds = 0;           ///< of timed steps on this rank
    double progress_seconds = 0;  ///< the same, of this rank
    double progress_share = 0;
    std::vector<double> mebibyte_s{};
  };

  void choose_experts();
  std::size_t automatic_budget(const Backend& backend);
  void add_ways(const Backend& backend);
  double run_steps(Way& way);
  std::vector<double> time_steps(const Way& way);
  void begin_move(const Way& way);
  void forward();
  void end_move();
  void note_bytes(Way& way, const MigrationReport& before);
  bool is_moving() const { return is_under_way(layer_.migration().state); }

  std::unique_ptr<Communicator> communicator_;  // for the measuring
  MigrationCase case_;
  Batch batch_;
  Engine engine_;
  MoeLayer layer_;
  Placement home_;
  bool is_home_ = true;  // or on the way there
  std::vector<float> expected_;
  std::vector<Way> ways_;
};

}  // namespace moewe::bench
