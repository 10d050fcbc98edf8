#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "benchmarks/exchange/contest.hpp"
#include "benchmarks/exchange/machine_state.hpp"
#include "comm/backend.hpp"
#include "launch/bench_overlap_options.hpp"

namespace moewe {

/// One case of `moewe bench overlap`, over all ranks.
struct OverlapCase {
  std::size_t tokens_per_rank = 0;
  std::string model;
  LayerSpec layer;
  std::size_t ranks = 0;
  std::size_t nodes = 0;
  std::size_t threads = 0;  ///< of rank 0
  std::string dtype;
  std::string routing;
  std::string path;  ///< as it was asked for
  std::string carrier;
  bench::MachineState before;
  bench::MachineState after;
  std::vector<bench::ContestResult> contestants;  ///< off, shared, half, off again

  bool is_correct() const;
};

/// Collective: all cases, one after the other. `on_result` is called on rank 0 after each.
std::vector<OverlapCase> run_overlap_cases(Communicator& communicator, const Backend& backend,
                                           const OverlapBenchOptions& options,
                                           const std::function<void(const OverlapCase&)>& on_result);

std::string overlap_json(const std::vector<OverlapCase>& cases);

/// For people: a table.
std::string overlap_text(const OverlapCase& overlap_case);

}  // namespace moewe
