#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "launch/reference_check.hpp"
#include "runtime/step_report.hpp"

namespace moewe {

/// One pair of ranks and how rows travel between them.
struct PairPath {
  std::size_t from;
  std::size_t to;
  std::string path;
  std::string carrier;
  std::string reason;
};

/// What a run was and did, over all ranks. Times in seconds, sizes in bytes.
struct RunResult {
  std::size_t ranks = 0;
  std::size_t nodes = 0;
  std::string isa;
  std::string model;
  std::string matmul_rows;  ///< how the matmul library is used so that bits do not depend on the batch
  std::size_t tokens = 0;   ///< per step
  std::size_t steps = 0;
  std::uint64_t seed = 0;
  std::vector<std::size_t> layers;
  std::size_t threads = 0;  ///< of rank 0

  std::vector<PairPath> exchange;
  std::string output_sha256;

  std::int64_t assigned = 0;
  std::vector<std::int64_t> computed_per_rank;

  std::vector<double> step_times;                ///< slowest rank of each step
  std::array<double, num_phases> phase_times{};  ///< per step, slowest rank of each phase
  double expert_flops = 0;                       ///< of all steps
  std::vector<double> first_imbalance;           ///< per layer, first step
  std::vector<double> last_imbalance;            ///< per layer, last step
  std::vector<std::int64_t> peak_bytes_per_rank;

  std::string verify_level;
  ReferenceResult reference;

  std::int64_t computed() const;
  std::int64_t lost() const { return assigned - computed(); }

  /// Of the rank with the most.
  std::int64_t peak_bytes() const;

  /// Of whole steps, all layers included.
  double tokens_per_s() const;
  double expert_flops_per_s() const;

  /// Nothing lost, and results within tolerance of the recorded ones.
  bool passed() const;
};

/// Smallest value that at least the fraction `p` of the values do not exceed; 0 if there are none.
double percentile(std::vector<double> values, double p);

double mean(const std::vector<double>& values);

std::string to_json(const RunResult& result);

/// For people: a few lines with human units.
std::string to_text(const RunResult& result);

}  // namespace moewe
