#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/buffer.hpp"
#include "comm/rank.hpp"
#include "placement/placement.hpp"
#include "runtime/planned_assignment.hpp"
#include "runtime/routing.hpp"
#include "runtime/slot_choice.hpp"

namespace moewe {

/// What goes to one rank: each token that chose at least one of its experts, once.
struct Destination {
  std::span<const std::uint32_t> tokens;           ///< ascending; element i is row i
  std::span<const PlannedAssignment> assignments;  ///< by token, then k; outputs come back in this order
};

/// Where every assignment of a rank's tokens goes: a pure function of routing, placement and
/// choice of slots. What was dropped goes nowhere.
///
///   destination 0                      destination 1
///   tokens:      [ 0     2  ]          [ 0     1 ]
///   assignments: [ 0.k0  2.k0  2.k1 ]  [ 0.k1  1.k0  1.k1 ]
class DispatchPlan {
 public:
  static constexpr std::string_view meter_name = "dispatch plan";
  explicit DispatchPlan(MemoryMeter& meter) : tokens_(meter, meter_name), assignments_(meter, meter_name) {}

  static std::size_t bytes_for(std::size_t num_assignments) {
    return num_assignments * (sizeof(std::uint32_t) + sizeof(PlannedAssignment));
  }

  void release_memory() {
    tokens_.release();
    assignments_.release();
  }

  /// `routing` has been checked by count_assignments, and `choice` deals its assignments by token, then k.
  /// Reuses the memory of the plan before it.
  void build(const Routing& routing, const Placement& placement, SlotChoice& choice);

  std::size_t num_ranks() const { return first_row_.empty() ? 0 : first_row_.size() - 1; }
  std::size_t num_tokens() const { return num_tokens_; }
  std::size_t top_k() const { return top_k_; }
  std::size_t num_assignments() const { return first_assignment_.empty() ? 0 : first_assignment_.back(); }

  Destination to(Rank rank) const;

 private:
  void count(const Routing& routing, const Placement& placement, SlotChoice choice);
  void fill(const Routing& routing, const Placement& placement, SlotChoice& choice);

  std::size_t num_tokens_ = 0;
  std::size_t top_k_ = 0;
  std::vector<std::size_t> first_row_;         // [num_ranks + 1]
  std::vector<std::size_t> first_assignment_;  // [num_ranks + 1]
  GrowingBuffer tokens_;                       // as long as the assignments, of which there is one per row
  GrowingBuffer assignments_;
};

}  // namespace moewe
