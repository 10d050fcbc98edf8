#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/rank.hpp"
#include "placement/placement.hpp"

namespace moewe {

/// The largest sum of one layer's loads that splits and plans take.
inline constexpr std::int64_t max_total_load = std::int64_t{1} << 40U;

/// How one layer's assignments are shared among the slots of a placement.
///
/// `largest` is the least that any split of these loads reaches on this placement, and `hot_ranks` is the
/// proof: experts that have slots on none but these ranks load them with more than (largest - 1) each in the
/// mean, however they are shared.
struct Split {
  std::vector<std::int64_t> shares;      ///< [num_slots] by expert, then as slots_of() has them
  std::vector<std::int64_t> rank_loads;  ///< [num_ranks] sums of the shares
  std::int64_t largest = 0;              ///< of rank_loads
  std::vector<Rank> hot_ranks;           ///< ascending, never empty; all of them where `largest` is the mean
};

/// Solves the split for one placement again and again, without allocating. The same answer wherever it runs
/// and whatever was solved before. Integers only; not thread-safe.
class Splitter {
 public:
  /// Keeps no reference to `placement`. An expert's second slot on one rank gets nothing.
  explicit Splitter(const Placement& placement);
  ~Splitter();
  Splitter(Splitter&&) noexcept;
  Splitter& operator=(Splitter&&) noexcept;

  /// `loads` [num_experts] are assignments per expert, none negative, at most max_total_load in sum (else
  /// InvalidInput). The result lives until the next call.
  const Split& split(std::span<const std::int64_t> loads);

  /// The same largest load, near `preferred` shares, in the order of Split::shares: only what overloads a
  /// rank moves away from them. An expert's preferred shares are not negative and sum to at most its load;
  /// what is left of it goes to the least loaded ranks.
  const Split& split_near(std::span<const std::int64_t> loads, std::span<const std::int64_t> preferred);

  /// Only Split::largest.
  std::int64_t largest(std::span<const std::int64_t> loads);

 private:
  struct Work;

  std::unique_ptr<Work> work_;
};

/// Split of one table of loads; see Splitter.
Split split_loads(const Placement& placement, std::span<const std::int64_t> loads);

/// Shares of `load` in the proportion of `shares`, rounded by largest remainder, the first of equal
/// remainders first. Where all `shares` are 0, equal ones. For steps that use an older step's split.
/// `shares` is not empty; `load` and the sum of `shares` are at most max_total_load, and none is negative.
std::vector<std::int64_t> scale_shares(std::span<const std::int64_t> shares, std::int64_t load);

/// `load` dealt in the proportions of `shares` one by one and evenly, as systematic sampling does it from
/// where `start` / 2^40 of all shares is, below 1: each gets its part, rounded up or down, and over many
/// starts just its part. Equal where shares are all 0; the shares themselves where they sum to `load`.
std::vector<std::int64_t> deal_shares(std::span<const std::int64_t> shares, std::int64_t load,
                                      std::int64_t start);

/// How many of an expert's assignments [first, first + count), in global token order, each of its slots
/// serves, if slot 0 serves the first shares[0] of all, slot 1 the next shares[1] and so on. first + count is
/// at most the sum of `shares`.
std::vector<std::int64_t> served_in_order(std::span<const std::int64_t> shares, std::int64_t first,
                                          std::int64_t count);

/// Equal for equal placements and shares, different otherwise but for a chance of 2^-64; ranks compare
/// it.
std::uint64_t split_digest(const Placement& placement, std::span<const std::int64_t> shares);

}  // namespace moewe
