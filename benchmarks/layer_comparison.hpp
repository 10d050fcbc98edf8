#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "benchmarks/bare_experts.hpp"
#include "benchmarks/harness.hpp"
#include "benchmarks/own_experts.hpp"
#include "runtime/engine.hpp"
#include "runtime/moe_layer.hpp"

namespace moewe::bench {

/// What a layer's step is measured on; the same on every rank.
struct LayerCase {
  LayerSpec spec;
  std::size_t tokens_per_rank = 0;
  Dtype dtype = Dtype::f32;
  std::size_t threads = 1;     ///< per rank
  std::size_t iterations = 0;  ///< of each contestant
};

/// Whole steps of a layer with its own router, in turns with the bare matmuls of the rows that these steps
/// give each rank; one rank's part of it. All functions are collective.
class LayerComparison {
 public:
  /// Runs and checks one step, to learn what the ranks get to do.
  LayerComparison(Communicator& communicator, const Backend& backend, const LayerCase& layer_case,
                  const KeptWeights& weights);

  /// Measures, and checks results again. Throws where they are wrong.
  void run();

  // Of all ranks together, and the same on all of them.
  Spread step() const { return spread_of(times_[0]); }
  Spread step_again() const { return spread_of(ratios(times_[1], times_[0])); }
  Spread own_experts() const { return spread_of(times_[2]); }
  std::size_t num_ways() const { return ways_.size(); }
  std::string way_name(std::size_t way) const { return ways_[way].name(); }
  Spread bare(std::size_t way) const { return spread_of(times_[3 + way]); }
  Spread ratio(std::size_t way) const { return spread_of(ratios(times_[0], times_[3 + way])); }

  /// The same against the bare matmuls of whichever rank was the slower in a round.
  Spread ratio_to_slowest(std::size_t way) const { return spread_of(ratios(times_[0], slowest_[way])); }
  std::size_t fastest() const;
  double busier_flops() const { return busier_flops_; }
  std::size_t busier_rank() const { return busier_rank_; }
  const std::vector<std::int64_t>& rows_per_rank() const { return rows_per_rank_; }

  /// Median seconds of a phase on the slowest rank of each step.
  double phase_seconds(std::size_t phase) const;

 private:
  void learn_rows();
  std::vector<Contestant> contestants();
  std::vector<double> on_all_ranks(const std::function<void()>& work);
  double time_step();
  double time_bare(std::size_t way);
  void check_layer();
  void check_bare();

  std::unique_ptr<Communicator> communicator_;  // for the measuring
  LayerCase case_;
  const KeptWeights& weights_;
  std::vector<float> x_;      // [tokens, hidden], of values that the dtype holds
  std::vector<Bf16> x_bf16_;  // the same
  std::vector<float> y_;
  Engine engine_;
  MoeLayer layer_;
  std::optional<OwnExperts> own_;  // none where the rank got no rows, as below
  std::vector<BareWay> ways_;
  std::vector<std::unique_ptr<BareExperts>> bare_;
  std::vector<std::int64_t> rows_per_rank_;
  std::size_t busier_rank_ = 0;
  double busier_flops_ = 0;
  std::array<std::vector<double>, num_phases> phases_;
  std::vector<std::vector<double>> times_;    // step, step again, own experts, each way
  std::vector<std::vector<double>> slowest_;  // each way
};

}  // namespace moewe::bench
