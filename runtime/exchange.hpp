#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "comm/waiter.hpp"
#include "runtime/path.hpp"
#include "runtime/token_range.hpp"

namespace moewe {

/// The token exchange of one round of a step: rows to experts and outputs back, over whatever path each pair
/// of ranks has.
///
///   exchange.dispatch(shape, plan, x);
///   while (const RowTable* rows = exchange.next()) {
///     compute(*rows);
///     exchange.give_back(threads);
///     sum(exchange.returned(), exchange.take_returned());
///   }
///   while (tokens are left) sum(exchange.returned(), exchange.await_returned());
///   exchange.finish();
///
/// All ranks run the same round; a rank with no tokens or no experts takes part like the others.
class Exchange {
 public:
  /// Every rank is a peer of exactly one path, and of the path of the same kind on the other side.
  Exchange(std::vector<std::unique_ptr<Path>> paths, const Waiter& waiter, MemoryMeter& meter);

  /// Adds the memory that a round of these sizes needs.
  void plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const;

  /// Between rounds: gives back what can be allocated anew in the next one. All outputs are gone.
  void release_memory();

  /// Non-blocking. `x` is the plan's tokens, row by row; plan and x stay valid and unchanged until finish()
  /// has returned.
  void dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x);

  /// Blocks until rows have arrived that were not handed out before, or until there are tokens to take; the
  /// table may be empty then. In a round without overlap, until all rows have arrived, unless outputs are
  /// kept in a ring, which needs sums in between. Null once all rows have been handed out. The table is valid
  /// until the next call.
  const RowTable* next();

  /// Non-blocking: whether next() would return at once for the sake of rows, or of there being no more.
  bool has_rows();

  /// The outputs of the rows that next() returned last are written, and may be summed by row on up to
  /// `num_threads` threads.
  void give_back(std::size_t num_threads);

  /// Outputs that have come back. Those of tokens that were taken stay where they are until the next call of
  /// next() or await_returned(): by then they are summed.
  const ReturnTable& returned() const { return returned_; }

  /// Non-blocking: the next tokens all of whose outputs are back, none or as many as there are.
  TokenRange take_returned();

  /// The same, but blocks until there are any; none once all have been taken.
  TokenRange await_returned();

  /// Non-blocking; at any time. Lets what is under way move on: rows, outputs, and
  /// what this rank passes on for others. Hands out nothing. Where a path fails, it throws that once.
  void progress();

  /// Whether progress() is of use between the pieces of what is computed: the round has overlap.
  bool overlaps() const { return shape_.overlap; }

  /// Whether progress() ever does anything on this rank's paths.
  bool needs_progress() const { return !progressing_.empty(); }

  /// Blocks until nothing in flight reads or writes this rank's memory of the round any more; plan and x may
  /// change then. In an audited round, throws Error(verification) where a path's canaries have changed.
  void finish();

 private:
  std::size_t count_complete();
  void free_taken();
  void finish_outputs(const ArrivedRows& arrived) const;
  void begin_table();
  std::string missing() const;
  bool is_there_to_do();

  template <typename Ready>
  void wait(Ready&& ready, WaitReason reason, std::optional<Rank> (Path::*awaited)() const) const;

  std::vector<std::unique_ptr<Path>> paths_;
  std::vector<Path*> progressing_;  // those that need it
  const Waiter& waiter_;
  bool is_under_way_ = false;  // from the end of dispatch() to that of finish()

  RoundShape shape_;
  std::size_t num_tokens_ = 0;
  std::size_t num_complete_ = 0;  // tokens whose outputs are back
  std::size_t num_taken_ = 0;
  std::size_t num_freed_ = 0;
  std::size_t num_arrived_ = 0;
  bool is_table_begun_ = false;  // rows_ is being filled
  RowTable rows_;
  ReturnTable returned_;
};

}  // namespace moewe
