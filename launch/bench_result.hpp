#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "benchmarks/exchange/contest.hpp"
#include "benchmarks/exchange/machine_state.hpp"
#include "benchmarks/exchange/traffic.hpp"
#include "launch/bench_choice.hpp"

namespace moewe {

/// One contestant of a case, and the bytes of rows that its arithmetic puts between ranks.
struct BenchContestant {
  bench::ContestResult times;
  std::size_t bytes_on_wire = 0;
};

/// One case of `moewe bench exchange`, over all ranks.
struct BenchCase {
  std::size_t tokens_per_rank = 0;
  std::size_t hidden = 0;
  std::size_t top_k = 0;
  std::size_t experts = 0;
  std::size_t ranks = 0;
  std::size_t nodes = 0;
  std::string dtype;
  std::string routing;
  std::string combine;
  bench::MachineState before;
  bench::MachineState after;
  std::vector<double> limit_s;        ///< of each round
  std::vector<double> limit_again_s;  ///< the same once more: their ratio is the noise
  std::vector<BenchContestant> contestants;
  bench::TrafficMatrix dispatch;
  BenchChoice choice;

  bool is_correct() const;

  /// "near" or "far" if it was the same before and after, else "mixed"; "none" without shared memory.
  std::string state() const;
};

std::string bench_json(const std::vector<BenchCase>& cases);
std::string bench_csv(const std::vector<BenchCase>& cases);

/// Bytes from each rank to each other in one dispatch: a line for each source.
std::string bench_matrix(const BenchCase& bench_case);

/// For people: a table.
std::string bench_text(const BenchCase& bench_case);

}  // namespace moewe
