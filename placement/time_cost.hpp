#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/topology.hpp"
#include "placement/placement.hpp"
#include "placement/plan.hpp"
#include "placement/source_split.hpp"

namespace moewe {

/// Whole ones, so that all ranks add up the same.
using Picoseconds = std::int64_t;

/// Times are cut off here: above all that a step can take, and with room to add a few.
inline constexpr Picoseconds max_time = Picoseconds{1} << 60U;

/// What expected tokens are counted in: parts of one.
inline constexpr std::int64_t token_parts = 1024;

/// Of a coefficient: a second and a bit.
inline constexpr Picoseconds max_coefficient = Picoseconds{1} << 40U;

/// What one row takes a rank on one kind of link, sent or received, whichever are more.
struct RowTimes {
  Picoseconds dispatch = 0;  ///< a token's row to experts
  Picoseconds back = 0;      ///< an output row

  bool operator==(const RowTimes&) const = default;
};

/// What a layer's steps cost on one cluster: measured once, agreed on, and then the same on every rank.
struct CostCoefficients {
  std::int64_t top_k = 1;       ///< assignments of a token
  std::int64_t tile_rows = 1;   ///< rows are computed in multiples of these
  Picoseconds row = 1;          ///< to compute one, by one expert
  Picoseconds weight_read = 0;  ///< to read an expert's weights: no active expert takes less
  Picoseconds expert = 0;       ///< for each active expert besides
  RowTimes inside_nodes;
  RowTimes between_nodes;
  /// Whether a rank returns one sum for each token that it was sent, rather than one row for each assignment.
  bool returns_sums = false;
  /// [num_ranks] how much longer than the others a rank computes; all alike where empty.
  std::vector<Millionths> slowness;

  bool operator==(const CostCoefficients&) const = default;
};

/// Throws InvalidInput for coefficients that are out of range: negative, above max_coefficient, no top_k or
/// tile_rows, no slowness for each rank, or one that is not above 0 and up to 1000.
void check_coefficients(const CostCoefficients& coefficients, std::size_t num_ranks);

struct RankTime {
  Picoseconds compute = 0;
  Picoseconds inside_nodes = 0;
  Picoseconds between_nodes = 0;

  /// One after the other: the same processor takes part in all of it.
  Picoseconds total() const { return std::min(max_time, compute + inside_nodes + between_nodes); }
};

/// What one step of one layer takes, as far as it can be told from counts.
struct LayerTime {
  std::vector<RankTime> of_rank;
  Picoseconds longest = 0;  ///< RankTime::total() of the slowest rank: what the step takes

  std::int64_t num_tokens = 0;
  /// On how many nodes a token has experts, for all tokens together, in 1 / token_parts; its own node counts
  /// where it has any there. To be expected, as expected_tokens() has it.
  std::int64_t node_visits = 0;
};

/// A step whose assignments are split as `split` says, which is of `placement` and `topology`. Throws
/// InvalidInput as check_coefficients does.
LayerTime layer_time(const Placement& placement, const Topology& topology, const SourceSplit& split,
                     const CostCoefficients& coefficients);

/// How many of `num_tokens`, in 1 / token_parts, take at least one of some experts that are taken
/// `assignments` times, each by different tokens: the number to be expected if choices of experts did not
/// depend on one another, rounded up.
///
/// Counts do not say which experts the same token takes. The most that they allow, each assignment another
/// token as long as there are any, is all tokens wherever a rank gets as many assignments as a source has
/// tokens, and then no longer tells placements apart; so this is the number that is used. Routers choose
/// without putting back, which makes it a little small, and choose related experts together, or groups of
/// them, which makes it large. Never more than what counts allow, nor less.
std::int64_t expected_tokens(std::int64_t num_tokens, std::span<const std::int64_t> assignments);

/// Counts [num_ranks][num_experts] where only their sums are known: equal parts of every rank.
std::vector<std::int64_t> spread_over_sources(std::span<const std::int64_t> loads, std::size_t num_ranks);

}  // namespace moewe
