#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launch/load_recorder.hpp"
#include "launch/rebalancing.hpp"
#include "launch/reference_check.hpp"
#include "launch/run_paths.hpp"
#include "launch/slow_rank.hpp"
#include "runtime/step_report.hpp"

namespace moewe {

/// What a run was and did, over all ranks. Times in seconds, sizes in bytes.
struct RunResult {
  std::size_t ranks = 0;
  std::size_t nodes = 0;
  std::string device;         ///< that layers are on: "cpu", "gpu" or "emulated"
  std::string device_name;    ///< of rank 0, or empty
  std::string device_reason;  ///< for the choice
  std::string device_mode;    ///< "eager" or "graph"; empty on cores
  std::string isa;
  std::string model;
  std::string dtype;
  std::string combine;
  std::string split;      ///< of the load of copies
  std::string overlap;    ///< as it would be typed
  std::size_t lanes = 1;  ///< parts of a step that are in flight at a time
  std::string routing;
  std::string capacity;         ///< as it would be typed
  std::string placement;        ///< that it began with: "contiguous", a file, "planned for FILE"
  std::string loads;            ///< the file that its history goes on from, or empty
  std::string saved_placement;  ///< where it is kept, or empty
  std::string saved_loads;      ///< likewise
  std::string timeline;         ///< likewise
  std::string matmul_rows;      ///< how the matmul library is used so that bits do not depend on the batch
  std::string expert_matmuls;   ///< of layers on devices, or empty
  std::size_t tokens = 0;       ///< per step
  std::size_t steps = 0;
  std::uint64_t seed = 0;
  std::vector<std::size_t> layers;
  std::size_t threads = 0;  ///< of rank 0
  std::size_t cores = 0;    ///< that these may use

  std::vector<PairPath> exchange;
  std::string output_sha256;

  std::size_t steps_before = 0;      ///< that an earlier run kept; times are of the others
  std::int64_t computed_before = 0;  ///< in these
  std::int64_t assigned = 0;
  std::vector<OverflowReport> overflow;  ///< per layer; empty where dispatch is dropless
  std::size_t most_rounds = 1;           ///< of any step
  std::vector<std::int64_t> computed_per_rank;

  std::vector<double> step_times;                ///< slowest rank of each step
  std::array<double, num_phases> phase_times{};  ///< per step, slowest rank of each phase
  std::vector<RankWait> waits;                   ///< in these steps, the longest first
  std::optional<SlowRank> slow_rank;             ///< if there is one
  double expert_flops = 0;                       ///< of the steps that have times
  std::vector<double> first_imbalance;           ///< per layer, first step
  std::vector<double> last_imbalance;            ///< per layer, last step
  std::string rebalance;                         ///< as it would be typed
  std::string measured;                          ///< for it, likewise
  RebalanceTotals migration;                     ///< time of the slowest rank
  std::vector<RaisedAlarm> alarms;
  std::vector<std::int64_t> peak_bytes_per_rank;          ///< counted
  std::vector<std::int64_t> planned_bytes_per_rank;       ///< what was planned for them
  std::vector<std::int64_t> process_bytes_per_rank;       ///< in RAM at the end, of the rank's whole process
  std::vector<std::int64_t> limit_bytes_per_rank;         ///< 0 where steps need not mind
  std::map<std::string, std::size_t> peak_bytes_by_name;  ///< of rank 0

  std::string verify_level;
  ReferenceResult reference;
  ReferenceTolerance tolerance = f32_tolerance;

  std::int64_t computed() const;
  std::int64_t dropped_over_capacity() const;
  std::int64_t dropped_without_room() const;
  std::int64_t rerouted() const;
  std::int64_t dropped() const { return dropped_over_capacity() + dropped_without_room(); }
  std::int64_t lost() const { return assigned - computed() - dropped(); }

  /// Of the rank with the most.
  static std::int64_t most(const std::vector<std::int64_t>& bytes_per_rank);

  /// Of whole steps, all layers included.
  double tokens_per_s() const;
  double expert_flops_per_s() const;

  /// Nothing lost, and results finite and within tolerance of the recorded ones.
  bool passed() const;

  /// For people: what keeps it from having passed; empty where it has.
  std::string failures() const;
};

/// Smallest value that at least the fraction `p` of the values do not exceed; 0 if there are none.
double percentile(std::vector<double> values, double p);

double mean(const std::vector<double>& values);

std::string to_json(const RunResult& result);

/// For people: a few lines with human units.
std::string to_text(const RunResult& result);

}  // namespace moewe
