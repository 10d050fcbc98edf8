#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "placement/placement.hpp"

namespace moewe {

/// The slots of one layer, for searches that change them. Slots are numbered rank by rank; the slots of one
/// expert are its copies, at most one of them on a rank.
///
/// Experts, ranks and slots are plain numbers here.
class Arrangement {
 public:
  static constexpr std::uint32_t nobody = ~std::uint32_t{0};

  /// All slots empty.
  Arrangement(std::size_t num_experts, std::span<const std::size_t> slots_per_rank);

  /// An expert's further slots on one rank are no copies of it: they are as good as empty, but keep it.
  explicit Arrangement(const Placement& placement);

  std::size_t num_experts() const { return first_copy_.size(); }
  std::size_t num_ranks() const { return first_slot_.size() - 1; }
  std::size_t num_slots() const { return expert_in_.size(); }

  std::uint32_t slots_begin(std::size_t rank) const { return first_slot_[rank]; }
  std::uint32_t slots_end(std::size_t rank) const { return first_slot_[rank + 1]; }
  std::uint32_t rank_of(std::uint32_t slot) const { return rank_of_[slot]; }

  /// Or `nobody`.
  std::uint32_t expert_in(std::uint32_t slot) const { return expert_in_[slot]; }

  std::uint32_t num_copies(std::uint32_t expert) const { return num_copies_[expert]; }

  /// A slot of the expert; the others follow by next_copy(), which comes back to it after the last.
  std::uint32_t first_copy(std::uint32_t expert) const { return first_copy_[expert]; }
  std::uint32_t next_copy(std::uint32_t slot) const { return next_copy_[slot]; }

  /// The slots of a rank that hold one of several copies, in an order that depends on what came before.
  std::span<const std::uint32_t> replicas_on(std::size_t rank) const {
    return std::span(replicas_).subspan(first_slot_[rank], num_replicas_[rank]);
  }

  /// Whether this slot holds the only copy of an expert.
  bool is_single(std::uint32_t slot) const { return is_copy(slot) && num_copies_[expert_in_[slot]] == 1; }
  /// Whether it holds one of several copies.
  bool is_replica(std::uint32_t slot) const { return next_copy_[slot] != slot; }
  bool is_copy(std::uint32_t slot) const {
    return expert_in_[slot] != nobody && (is_replica(slot) || first_copy_[expert_in_[slot]] == slot);
  }

  bool holds(std::size_t rank, std::uint32_t expert) const;

  /// [num_ranks] load of each rank besides that of experts; at first none.
  std::span<const std::int64_t> base_loads() const { return base_loads_; }
  void set_base_loads(std::vector<std::int64_t> loads) { base_loads_ = std::move(loads); }

  /// Puts an expert into a slot that holds nobody, on a rank that holds no copy of it.
  void put(std::uint32_t slot, std::uint32_t expert);
  /// Puts an expert into a slot that holds nobody, on a rank that holds a copy of it: it is none itself.
  void put_aside(std::uint32_t slot, std::uint32_t expert) { expert_in_[slot] = expert; }
  /// Leaves a slot with nobody in it.
  void clear(std::uint32_t slot);
  /// Both hold somebody.
  void exchange(std::uint32_t a, std::uint32_t b);

  /// Visits every copy of `expert`.
  template <typename Visit>
  void for_each_copy(std::uint32_t expert, Visit&& visit) const {
    std::uint32_t slot = first_copy_[expert];
    for (std::uint32_t i = 0; i < num_copies_[expert]; ++i, slot = next_copy_[slot]) visit(slot);
  }

  /// The experts as they lie; slots that hold nobody are left out.
  Placement to_placement(std::uint64_t epoch) const;

 private:
  void list_replica(std::uint32_t slot);
  void unlist_replica(std::uint32_t slot);

  std::vector<std::uint32_t> first_slot_;    // of each rank, and one more
  std::vector<std::uint32_t> rank_of_;       // [slots]
  std::vector<std::uint32_t> expert_in_;     // [slots]
  std::vector<std::uint32_t> next_copy_;     // [slots] a ring through the copies of an expert
  std::vector<std::uint32_t> first_copy_;    // [experts]
  std::vector<std::uint32_t> num_copies_;    // [experts]
  std::vector<std::uint32_t> replicas_;      // [slots] replicas_on(), from a rank's first slot on
  std::vector<std::uint32_t> num_replicas_;  // [ranks]
  std::vector<std::int64_t> base_loads_;     // [ranks]
};

}  // namespace moewe
