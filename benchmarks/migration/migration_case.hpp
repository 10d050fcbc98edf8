#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "runtime/engine.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/routing.hpp"
#include "runtime/token_range.hpp"
#include "runtime/token_rows.hpp"

namespace moewe::bench {

/// What migrations are measured on; the same on every rank.
struct MigrationCase {
  LayerSpec spec;
  Dtype dtype = Dtype::f32;
  PathRequest path = PathRequest::automatic;
  std::size_t tokens_per_rank = 0;
  std::size_t pairs = 0;             ///< runs of each contestant
  std::size_t steps = 0;             ///< of a run
  std::size_t settle_steps = 0;      ///< of each contestant of the gain, before any is counted
  std::vector<std::size_t> budgets;  ///< bytes that a rank sends in a step; 0: automatic
  double sigma = 0;                  ///< of the skewed loads
  std::size_t spares = 0;            ///< slots of each rank for copies, where there are any
  std::uint64_t seed = 0;
};

EngineOptions engine_options(const MigrationCase& migration_case);

/// Of the tokens of all ranks.
TokenRange own_tokens(const MigrationCase& migration_case, const Communicator& communicator);

/// A rank's rows, a choice of experts for them, and what becomes of them.
class Batch {
 public:
  Batch(const MigrationCase& migration_case, const Communicator& communicator);

  TokenRows x() const { return {bytes_, dtype_}; }
  Routing routing() const { return {num_tokens_, top_k_, experts, weights, {}}; }

  std::vector<ExpertId> experts;  ///< [num_tokens, top_k]
  std::vector<float> weights;     ///< the same, at first 1 / top_k
  std::vector<float> y;

 private:
  std::size_t num_tokens_;
  std::size_t top_k_;
  Dtype dtype_;
  std::vector<std::byte> bytes_;
};

/// Throws where the bits of two results differ.
void require_same(std::span<const float> y, std::span<const float> expected);

/// Collective: each element's most over all ranks, to a billionth.
std::vector<double> most_of_ranks(Communicator& communicator, std::span<const double> seconds);

}  // namespace moewe::bench
