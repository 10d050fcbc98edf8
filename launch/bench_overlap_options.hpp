#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launch/calibration.hpp"
#include "runtime/dtype.hpp"
#include "runtime/model_config.hpp"

namespace moewe {

/// What `moewe bench overlap` was asked for.
struct OverlapBenchOptions {
  ModelConfig model;  ///< of one layer, or a preset
  std::vector<std::size_t> tokens_per_rank;
  std::string routing = "router";
  Dtype dtype = Dtype::bf16;
  ExchangeRequest exchange;
  std::uint64_t seed = 0;
  double seconds = 5;  ///< for each case
  double timeout_s = 120;
  std::optional<std::size_t> threads;  ///< per rank; none: chosen from the machine
  std::optional<std::size_t> ranks;    ///< threads of this process that act as ranks
  std::optional<std::filesystem::path> json;
  bool help = false;

  /// All that must be equal on every rank, each as it would be typed.
  std::vector<std::string> shared_settings() const;
};

/// Throws InvalidInput with one sentence for anything that cannot be used.
OverlapBenchOptions parse_overlap_bench_options(const std::vector<std::string>& arguments);

std::string overlap_bench_help();

}  // namespace moewe
