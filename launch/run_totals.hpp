#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "launch/output_digest.hpp"
#include "launch/reference_check.hpp"
#include "runtime/overflow.hpp"

namespace moewe {

/// Sums over steps, each of one rank's part or of all ranks'.
struct RankSums {
  std::int64_t assigned = 0;
  std::int64_t computed = 0;
  ReferenceResult reference;

  void add(const RankSums& other);
};

/// Of what steps did, that which every rank knows.
struct AgreedTotals {
  std::uint64_t most_rounds = 1;         ///< of any step
  std::vector<double> first_imbalance;   ///< per layer, first step of all
  std::vector<OverflowReport> overflow;  ///< per layer, sums of all steps; empty where dispatch is dropless
};

/// What the first steps of a run did, over all ranks: all that its end needs of them.
struct RunTotals {
  std::uint64_t num_steps = 0;
  std::uint64_t last_step_digest = 0;  ///< of the last one's outputs
  RankSums sums;
  AgreedTotals agreed;
  OutputDigest::State digest{};
};

/// Lengths of what has one.
struct TotalsShape {
  std::size_t num_layers = 0;
  std::size_t num_experts = 0;
  bool has_overflow = false;

  /// Of the totals as bytes.
  std::size_t num_bytes() const;
};

/// Bytes that the same program reads again: shape.num_bytes() of them, for any totals of the shape.
std::vector<std::byte> to_bytes(const RunTotals& totals, const TotalsShape& shape);
RunTotals totals_from(std::span<const std::byte> bytes, const TotalsShape& shape);

}  // namespace moewe
