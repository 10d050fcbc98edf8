#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/dispatch_plan.hpp"
#include "runtime/return_table.hpp"
#include "runtime/row_table.hpp"

namespace moewe {

/// How rows travel between two ranks.
enum class PathKind {
  local,    ///< a rank to itself: rows are used where they lie
  direct,   ///< the expert's rank reads rows from peer memory, the token's rank reads outputs from there
  message,  ///< packed, sent, and sent back
};

/// What is the same for all paths in one step.
struct StepShape {
  std::uint64_t generation = 0;
  std::size_t row_bytes = 0;
  std::size_t output_bytes = 0;
  std::size_t num_slots = 0;     ///< on this rank
  std::size_t num_expected = 0;  ///< assignments that this rank's slots compute, from all sources together
};

/// Rows of one step on their way to some of the ranks, and their outputs on the way back. The exchange calls
/// dispatch, then collect and give_back until all rows have arrived, then collect_returned until all outputs
/// are back, then is_idle until it is; nothing here blocks.
class Path {
 public:
  virtual ~Path() = default;

  virtual PathKind kind() const = 0;

  /// Hands over what the plan sends to this path's peers. `x` holds the plan's tokens, row by row; plan and x
  /// stay valid and unchanged until the step's end.
  virtual void dispatch(const StepShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) = 0;

  /// Appends rows that have arrived since the last call.
  virtual void collect(RowTable& rows) = 0;

  /// All rows collected so far have their outputs written: let these travel back.
  virtual void give_back() = 0;

  /// Appends outputs that have come back since the last call.
  virtual void collect_returned(ReturnTable& returned) = 0;

  /// True when the rank's memory of this step is no longer read or written by anything in flight here.
  virtual bool is_idle() = 0;
};

}  // namespace moewe
