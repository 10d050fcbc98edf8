#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "comm/waiter.hpp"
#include "runtime/path.hpp"

namespace moewe {

/// The token exchange of one round of a step: rows to experts and outputs back, over whatever path each pair
/// of ranks has.
///
///   exchange.dispatch(shape, plan, x);
///   while (const RowTable* rows = exchange.next()) { compute(*rows); exchange.give_back(threads); }
///   combine(exchange.returned());
///   exchange.finish();
///
/// All ranks run the same round; a rank with no tokens or no experts takes part like the others.
class Exchange {
 public:
  /// Every rank is a peer of exactly one path, and of the path of the same kind on the other side.
  Exchange(std::vector<std::unique_ptr<Path>> paths, const Waiter& waiter, MemoryMeter& meter)
      : paths_(std::move(paths)), waiter_(waiter), rows_(meter), returned_(meter) {}

  /// Adds the memory that a round of these sizes needs.
  void plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const;

  /// Between rounds: gives back what can be allocated anew in the next one. All outputs are gone.
  void release_memory();

  /// Non-blocking. `x` is the plan's tokens, row by row; plan and x stay valid and unchanged until finish()
  /// has returned.
  void dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x);

  /// Blocks until rows have arrived that were not handed out before; null once all have been. The table is
  /// valid until the next call.
  const RowTable* next();

  /// The outputs of the rows that next() returned last are written, and may be summed by row on up to
  /// `num_threads` threads.
  void give_back(std::size_t num_threads);

  /// Blocks until every assignment of this rank's tokens has its output. The outputs stay where they are
  /// until the next dispatch.
  const ReturnTable& returned();

  /// Blocks until nothing in flight reads or writes this rank's memory of the round any more; plan and x may
  /// change then.
  void finish();

 private:
  std::vector<std::unique_ptr<Path>> paths_;
  const Waiter& waiter_;
  RoundShape shape_;
  std::size_t num_arrived_ = 0;
  RowTable rows_;
  ReturnTable returned_;
};

}  // namespace moewe
