#include "launch/bench_figures.hpp"

#include <fmt/format.h>

#include "benchmarks/harness.hpp"
#include "launch/run_result.hpp"

namespace moewe {

nlohmann::ordered_json percentiles_json(const std::vector<double>& values) {
  return {
      {"p50", percentile(values, 0.5)}, {"p90", percentile(values, 0.9)}, {"p99", percentile(values, 0.99)}};
}

std::string ratio_text(const std::vector<double>& over, const std::vector<double>& under) {
  const bench::Spread spread = bench::spread_of(bench::ratios(over, under));
  return fmt::format("{:.2f} ({:.2f}-{:.2f})", spread.median, spread.p10, spread.p90);
}

}  // namespace moewe
