#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/rank.hpp"
#include "placement/expert_id.hpp"

namespace moewe {

/// A share of 10^6: 1'020'000 is 1.02.
using Millionths = std::int64_t;

/// A place for one expert's weights: the n-th on a rank.
struct Slot {
  Rank rank;
  std::uint32_t position;

  bool operator==(const Slot&) const = default;
};

/// Which rank holds which expert of one layer, in which slot. Immutable, and the same value on every rank; a
/// change of placement is a new value with the next epoch. Every expert has a slot at least; those with
/// several are replicated. Ranks may hold different numbers of experts, and none.
class Placement {
 public:
  /// The experts of each rank in slot order. Throws InvalidInput unless every expert from 0 to num_experts -
  /// 1 stands in some slot.
  Placement(std::uint64_t epoch, std::size_t num_experts, std::vector<std::vector<ExpertId>> experts_of_rank);

  std::uint64_t epoch() const { return epoch_; }
  std::size_t num_ranks() const { return experts_of_rank_.size(); }
  std::size_t num_experts() const { return first_slot_of_expert_.size() - 1; }
  std::size_t num_slots() const { return slots_.size(); }
  bool has_replicas() const { return num_slots() > num_experts(); }

  /// By ranks, and by positions on the same rank.
  std::span<const Slot> slots_of(ExpertId expert) const {
    const std::size_t first = first_slot_of_expert_[index(expert)];
    return std::span(slots_).subspan(first, first_slot_of_expert_[index(expert) + 1] - first);
  }

  /// How many slots the experts before this one have: where its own begin among those of all experts.
  std::size_t first_slot(ExpertId expert) const { return first_slot_of_expert_[index(expert)]; }

  /// The only one where nothing is replicated, else the first.
  const Slot& slot_of(ExpertId expert) const { return slots_[first_slot_of_expert_[index(expert)]]; }

  /// In slot order.
  std::span<const ExpertId> experts_of(Rank rank) const { return experts_of_rank_[index(rank)]; }

  /// Where each of the rank's slots stands among all [num_slots] by expert and then as slots_of() has them.
  std::span<const std::size_t> slot_numbers_of(Rank rank) const { return numbers_of_rank_[index(rank)]; }

  /// The same, for steps whose splits give the ranks as much as these take alike: [num_ranks] how much longer
  /// than the others a rank computes, above 0 and at most 1000; all alike where empty. Splits of steps check
  /// them.
  Placement with_slowness(std::vector<Millionths> slowness) const;
  const std::vector<Millionths>& slowness() const { return slowness_; }

  /// Equal for equal epochs, slots and slowness, whatever the process; different, but for a chance of 2^-64,
  /// otherwise.
  std::uint64_t digest() const { return digest_; }

  /// Sum over a rank's slots of a load per slot, in the order of slot numbers; where nothing is replicated
  /// that is a load per expert.
  std::vector<std::int64_t> rank_loads(std::span<const std::int64_t> load_per_slot) const;

  /// The same over an expert's slots, [num_experts].
  std::vector<std::int64_t> expert_loads(std::span<const std::int64_t> load_per_slot) const;

 private:
  std::uint64_t epoch_;
  std::vector<std::vector<ExpertId>> experts_of_rank_;
  std::vector<std::size_t> first_slot_of_expert_;  // and one more, behind the last
  std::vector<Slot> slots_;                        // of expert 0, of expert 1 and so on
  std::vector<std::vector<std::size_t>> numbers_of_rank_;
  std::vector<Millionths> slowness_;
  std::uint64_t digest_;  // asked for in every step
};

/// Expert e on rank floor(e * num_ranks / num_experts), in epoch 0: neighbouring experts together, and rank
/// sizes that differ by at most one.
Placement contiguous_placement(std::size_t num_experts, std::size_t num_ranks);

/// Largest rank load over the mean rank load; 1.0 is perfect, and the value when nothing is loaded.
double imbalance(std::span<const std::int64_t> rank_loads);

}  // namespace moewe
