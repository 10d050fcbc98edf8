#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "placement/arrangement.hpp"

namespace moewe {

/// How one table of loads flows to the slots of an arrangement.
struct FlowState {
  std::vector<std::int64_t> rank_loads;  ///< [ranks] with Arrangement::base_loads()
  std::vector<std::int64_t> shares;      ///< [slots] of the copies of experts that have several, else 0
};

/// Moves shares between copies until ranks are below a capacity, or until nothing lowers the largest load: a
/// maximum flow between ranks, from those above the capacity to those below, by blocking flows on the levels
/// of a breadth-first search. Follows an arrangement as it changes.
class LoadFlow {
 public:
  explicit LoadFlow(const Arrangement& arrangement);

  /// A good start: what has one copy lies where it must, experts with several are poured over theirs, the
  /// most loaded first, and once more.
  void fill(FlowState& state, std::span<const std::int64_t> loads);

  /// Pours `load` over the copies of `expert`, onto the least loaded ranks first, in addition to their
  /// shares.
  void pour(FlowState& state, std::uint32_t expert, std::int64_t load);

  /// Relieves ranks above `capacity` as far as possible; returns what remains above it, in sum. If that is
  /// not 0, reached() is the set of ranks that the overloaded ones share their loads with: closed, and each
  /// loaded with `capacity` at least.
  std::int64_t route(FlowState& state, std::int64_t capacity);

  /// Lowers the largest rank load as far as possible and returns it; `at_least` is a lower bound that is
  /// known. Ends early once it is known to be `enough` or more, and returns a lower bound then. If the result
  /// is above `at_least`, reached() is the set of ranks that proves it.
  std::int64_t minimise(FlowState& state, std::int64_t at_least,
                        std::int64_t enough = std::numeric_limits<std::int64_t>::max());

  /// Of the latest route() that left something, or minimise() that rose.
  std::span<const std::uint32_t> reached() const { return reached_; }

  /// Before the arrangement clears `slot`, which holds a replica: its share goes to another copy.
  void leave(FlowState& state, std::uint32_t slot) const;
  /// Before the arrangement puts another copy of `expert`, whose load this is, somewhere.
  void join(FlowState& state, std::uint32_t expert, std::int64_t load) const;

 private:
  /// Where the search for a way from a rank goes on.
  struct Arc {
    std::uint32_t replica;   ///< which of those on the rank
    std::uint32_t to;        ///< copy of the same expert
    std::uint32_t from = 0;  ///< its slot on the rank
  };

  bool find_levels(const FlowState& state, std::int64_t capacity);
  void reach_from(const FlowState& state, std::uint32_t rank, std::int64_t capacity);
  void reach(std::uint32_t rank, std::int32_t level);
  bool find_path(const FlowState& state, std::uint32_t rank, std::int64_t capacity);
  bool find_arc(const FlowState& state, std::uint32_t rank);
  void push(FlowState& state, std::uint32_t rank, std::int64_t capacity);

  const Arrangement& arrangement_;
  std::vector<std::int32_t> levels_;  // [ranks] -1 where not reached
  std::vector<std::uint32_t> queue_;  // ranks in the order in which they are reached
  std::vector<std::uint32_t> reached_;
  std::vector<Arc> arcs_;            // [ranks]
  std::vector<std::uint32_t> path_;  // ranks from an overloaded one on
  std::vector<std::uint32_t> replicated_;
  std::vector<std::pair<std::int64_t, std::uint32_t>> by_load_;  // rank load, slot
  std::size_t num_overloaded_ = 0;                               // first in the queue
  std::int64_t room_ = 0;                                        // of ranks that are reached
};

/// Sum over `ranks` of their loads, over their number, rounded up.
std::int64_t mean_of(const FlowState& state, std::span<const std::uint32_t> ranks);

}  // namespace moewe
