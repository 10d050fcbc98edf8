#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "runtime/combine.hpp"
#include "runtime/dispatch_plan.hpp"
#include "runtime/flow.hpp"
#include "runtime/memory_plan.hpp"
#include "runtime/missing_parts.hpp"
#include "runtime/return_table.hpp"
#include "runtime/round_audit.hpp"
#include "runtime/row_table.hpp"
#include "runtime/token_buffers.hpp"

namespace moewe {

/// How rows travel between two ranks.
enum class PathKind {
  local,      ///< a rank to itself: rows are used where they lie
  direct,     ///< the expert's rank reads rows from peer memory, the token's rank reads outputs from there
  message,    ///< packed, sent, and sent back
  two_level,  ///< a row is sent once per node, to one rank, and read from there by the node's others
};

/// What is the same for all paths in one round of a step.
struct RoundShape {
  std::uint64_t generation = 0;  ///< number of the round in its engine
  RowFormat format;
  Combine combine = Combine::reproducible;
  Flow flow;
  bool overlap = true;                              ///< else nothing is computed before all rows are there
  std::span<const std::int64_t> expected_per_slot;  ///< assignments that this rank's slots compute
  std::size_t num_expected = 0;                     ///< the same from all sources and of all slots together
  std::size_t num_expected_on_node = 0;             ///< the same for all ranks of this rank's node
  std::optional<TokenPlace> tokens_place;           ///< where peers can read the round's tokens themselves
  RoundAudit audit;                                 ///< of what travels; off unless asked for

  std::size_t row_bytes() const { return format.bytes(); }

  /// What a row takes where its checksum lies beside it: rows one behind the other, then their checksums.
  std::size_t sealed_row_bytes() const { return row_bytes() + audit.checksum_bytes(); }

  /// Where the checksums of so many rows begin that begin here; null where there are none.
  const std::byte* checksums_behind(const std::byte* rows, std::size_t num_rows) const {
    return audit.is_on() ? rows + num_rows * row_bytes() : nullptr;
  }

  /// The same for what comes back for these assignments of one destination.
  const std::byte* checksums_behind(const std::byte* rows,
                                    std::span<const PlannedAssignment> assignments) const {
    return audit.is_on() ? checksums_behind(rows, num_returned(assignments)) : nullptr;
  }

  /// Rows that come back for these assignments of one destination.
  std::size_t num_returned(std::span<const PlannedAssignment> assignments) const {
    return combine == Combine::fast ? count_rows(assignments) : assignments.size();
  }
};

/// Outputs that are computed apart from what is given back (RowTable): where they are summed before that, and
/// chunk by chunk, twice as many as come together if tokens go to all ranks alike.
inline std::size_t outputs_apart(Combine combine, const Flow& flow, std::size_t top_k,
                                 std::size_t num_expected) {
  if (combine == Combine::reproducible || flow.ring_chunks == 0) return 0;
  return std::min(num_expected, 2 * flow.chunk_tokens * top_k);
}

/// Sizes of one rank's share of a round, from which follows the memory that it needs.
struct RoundSizes {
  std::size_t num_tokens = 0;
  std::size_t top_k = 0;
  std::size_t num_ranks = 1;
  std::size_t num_assigned_here = 0;       ///< to this rank's own experts
  std::size_t num_assigned_elsewhere = 0;  ///< to other ranks' experts
  std::size_t num_expected = 0;            ///< to this rank's experts, from all ranks
  std::size_t row_bytes = 0;
  bool are_tokens_shared = false;  ///< peers can read them where they are
  bool is_audited = false;         ///< checksums lie beside what travels
  Combine combine = Combine::reproducible;
  Flow flow;

  // What may come by way of this rank for others: bounds while a step is planned, none once a round has
  // begun, when what comes is planned as it is announced.
  std::size_t most_tokens_of_source = 0;
  std::size_t most_expected_on_node = 0;

  bool operator==(const RoundSizes&) const = default;

  /// With its checksum where there is one.
  std::size_t sealed_row_bytes() const { return row_bytes + (is_audited ? sizeof(std::uint64_t) : 0); }

  std::size_t num_assigned() const { return num_assigned_here + num_assigned_elsewhere; }
  std::size_t num_expected_from_elsewhere() const { return num_expected - num_assigned_here; }

  /// Outputs that a ring for one source's chunks holds: room for any one of them, and for several that go to
  /// all ranks alike. 0 without a ring.
  std::size_t outputs_in_ring() const {
    if (flow.ring_chunks == 0) return 0;
    return flow.chunk_tokens * std::max(top_k, (flow.ring_chunks * top_k + num_ranks - 1) / num_ranks);
  }

  std::size_t outputs_apart() const { return moewe::outputs_apart(combine, flow, top_k, num_expected); }
};

RoundSizes sizes_of(const RoundShape& shape, const DispatchPlan& plan, Rank self);

/// Rows of one round on their way to some of the ranks, and their outputs on the way back. The exchange calls
/// dispatch; then collect and give_back until all rows have arrived, and collect_returned and free_tokens
/// until all outputs are back, in turns; then is_idle until it is; and progress at any time from the end of
/// dispatch until then. Nothing here blocks.
class Path {
 public:
  virtual ~Path() = default;

  virtual PathKind kind() const = 0;

  /// Adds the memory that a round of these sizes needs: what dispatch allocates is no more and no less.
  virtual void plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const = 0;

  /// Between rounds: gives back what can be allocated anew in the next one.
  virtual void release_memory() = 0;

  /// Hands over what the plan sends to this path's peers. `x` holds the plan's tokens, row by row; plan and x
  /// stay valid and unchanged until the round's end.
  virtual void dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) = 0;

  /// Appends rows that have arrived since the last call.
  virtual void collect(RowTable& rows) = 0;

  /// All rows collected so far have their outputs written: let these travel back.
  virtual void give_back() = 0;

  /// Appends outputs that have come back since the last call. Returns up to which token everything that was
  /// sent here is back.
  virtual std::size_t collect_returned(ReturnTable& returned) = 0;

  /// Whether progress() does anything: rows and outputs travel only while somebody calls the path.
  virtual bool needs_progress() const { return false; }

  /// Moves along what is under way, of this rank's and, where it passes on, of others', and hands out
  /// nothing.
  virtual void progress() {}

  /// Outputs of the tokens before this one are summed: their memory may be used again.
  virtual void free_tokens(std::size_t /*end*/) {}

  /// Of whom this path lacks rows, or outputs, and who has not taken what was sent, if it is known; for
  /// messages about waits that last.
  virtual std::optional<Rank> awaits_rows_of() const { return std::nullopt; }
  virtual std::optional<Rank> awaits_outputs_of() const { return std::nullopt; }
  virtual std::optional<Rank> awaits_taking_by() const { return std::nullopt; }

  /// Adds what has not come, as far as this rank knows it, in the middle of a wait. `num_lacking` is the
  /// number of assignments that have not been handed out to this rank's experts, over all paths.
  virtual void list_missing(std::size_t /*num_lacking*/, MissingParts& /*missing*/) const {}

  /// At the end of an audited round: throws Error(verification) where somebody has written beyond the end of
  /// a region of this rank's memory that peers read.
  virtual void check_canaries() const {}

  /// True when the rank's memory of this round is no longer read or written by anything in flight here.
  virtual bool is_idle() = 0;
};

}  // namespace moewe
