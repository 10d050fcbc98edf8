#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "placement/arrangement.hpp"
#include "placement/load_flow.hpp"

namespace moewe {

/// What it costs that a rank holds an expert: [ranks][experts], 0 or 1.
struct SlotCosts {
  std::vector<std::uint8_t> values;
  std::size_t num_experts = 0;

  std::int64_t of(std::size_t rank, std::uint32_t expert) const {
    return values[rank * num_experts + expert];
  }
};

/// One for each expert that is not on a rank in `from`.
SlotCosts arrival_costs(const Placement& from);

struct SlotLimits {
  std::int64_t capacity = 0;  ///< that no rank load shall exceed
  std::int64_t most_cost = std::numeric_limits<std::int64_t>::max();
  std::int64_t price = 0;  ///< load that a move must relieve for each unit of its cost
  bool is_quick = false;   ///< a round ends with a move that is half as good as the next one promises to be
};

/// Brings all ranks below a capacity with few changes of slots: experts that only overloaded ranks hold, and
/// those that these share loads with, get a slot elsewhere, in place of a replica or of another expert that
/// comes back. Each round tries the moves exactly that promise most relief for their cost, and makes the
/// best.
class SlotSearch {
 public:
  SlotSearch(Arrangement& arrangement, std::span<const std::int64_t> loads, const SlotCosts& costs);

  /// Returns the load that remains above the capacity, in sum. Limits of later calls count from there on.
  std::int64_t run(const SlotLimits& limits);

  /// Of all moves made.
  std::int64_t cost() const { return cost_; }

 private:
  /// `expert`, from the slot `from`, takes the slot `to`: for good, or in exchange.
  struct Move {
    std::uint32_t to;
    std::uint32_t from;
    std::uint32_t expert;
    bool is_exchange;
    std::int64_t cost;
    std::int64_t relief;  ///< estimated, then exact
    /// Costs are 2 at most.
    std::int64_t score() const { return relief >> std::max<std::int64_t>(cost, 0); }
  };
  /// How hard a round tries.
  struct Effort {
    std::size_t experts;
    std::size_t trials;
  };

  bool improve(const SlotLimits& limits, const Effort& effort);
  void list_hot(std::size_t most);
  bool is_all_hot(std::uint32_t expert) const;
  void list_moves(const SlotLimits& limits);
  void list_copies_to(std::size_t rank, const SlotLimits& limits);
  void list_exchanges_with(std::size_t rank, const SlotLimits& limits);
  void consider(const Move& move, std::size_t first, std::size_t most, const SlotLimits& limits);
  std::int64_t relief_of(const Move& move, std::int64_t capacity);
  void change(FlowState& state, const Move& move);
  void undo(const Move& move, std::uint32_t replaced, bool was_copy);

  Arrangement& arrangement_;
  std::span<const std::int64_t> loads_;
  const SlotCosts& costs_;
  LoadFlow flow_;
  FlowState state_;
  FlowState trial_;
  std::int64_t excess_ = 0;
  std::int64_t cost_ = 0;
  std::vector<bool> is_hot_;        // [ranks]
  std::vector<std::uint32_t> hot_;  // experts that only hot ranks hold, the most loaded first
  std::vector<Move> moves_;
  bool is_exhaustive_ = false;
};

}  // namespace moewe
