#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launch/calibration.hpp"
#include "runtime/layer_options.hpp"

namespace moewe {

/// What `moewe bench exchange` was asked for: each list is crossed with the others.
struct BenchOptions {
  std::vector<std::size_t> tokens_per_rank;
  std::vector<std::size_t> hidden;
  std::vector<std::string> routings;
  std::vector<Combine> combines;
  std::size_t top_k = 8;
  std::size_t experts = 256;
  Dtype dtype = Dtype::bf16;
  std::uint64_t seed = 0;
  Calibrate calibrate = Calibrate::cached;
  double seconds = 3;  ///< for each case
  double timeout_s = 120;
  std::optional<std::size_t> ranks;  ///< threads of this process that act as ranks
  std::optional<std::filesystem::path> json;
  std::optional<std::filesystem::path> csv;
  std::optional<std::filesystem::path> matrix;
  bool help = false;

  /// All that must be equal on every rank, each as it would be typed.
  std::vector<std::string> shared_settings() const;
};

/// Throws InvalidInput with one sentence for anything that cannot be used.
BenchOptions parse_bench_options(const std::vector<std::string>& arguments);

std::string bench_help();

}  // namespace moewe
