#include "placement/stages.hpp"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace moewe {
namespace {

using Experts = std::vector<ExpertId>;

bool holds(const Experts& experts, ExpertId expert) {
  return std::find(experts.begin(), experts.end(), expert) != experts.end();
}

/// Each expert of a rank once, in the order of its slots.
std::vector<Experts> experts_by_rank(const Placement& placement) {
  std::vector<Experts> ranks(placement.num_ranks());
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    for (const ExpertId expert : placement.experts_of(rank_at(rank))) {
      if (!holds(ranks[rank], expert)) ranks[rank].push_back(expert);
    }
  }
  return ranks;
}

/// Ways of experts to their ranks, each of which passes a rank at most once.
class Stage {
 public:
  Stage(const Placement& now, const Placement& target)
      : held_(experts_by_rank(now)), wanted_(experts_by_rank(target)), copies_(now.num_experts(), 0) {
    for (std::size_t rank = 0; rank < held_.size(); ++rank) {
      size_.push_back(
          std::max(now.experts_of(rank_at(rank)).size(), target.experts_of(rank_at(rank)).size()));
      for (const ExpertId expert : held_[rank]) ++copies_[index(expert)];
    }
  }

  /// Brings at most one expert to every rank.
  void pass() {
    has_arrival_.assign(held_.size(), false);
    for (std::size_t rank = 0; rank < held_.size(); ++rank) bring_to(rank);
  }

  std::vector<Experts> take() { return std::move(held_); }

 private:
  /// An expert comes to a rank, and another makes room for it.
  struct Link {
    std::size_t rank;
    ExpertId arrives;
    std::optional<ExpertId> leaves;
  };

  void bring_to(std::size_t rank) {
    if (has_arrival_[rank]) return;
    const auto missing = std::find_if(wanted_[rank].begin(), wanted_[rank].end(),
                                      [&](ExpertId expert) { return !holds(held_[rank], expert); });
    if (missing == wanted_[rank].end()) return;
    way_.clear();
    if (!find_way(rank, *missing)) return;
    for (const Link& link : way_) follow(link);
  }

  /// Appends links to way_ until no expert is left without a place.
  bool find_way(std::size_t rank, ExpertId arriving) {
    while (true) {
      way_.push_back({rank, arriving, std::nullopt});
      if (held_[rank].size() < size_[rank]) return true;
      if (const auto spare = leaver(rank, [&](ExpertId expert) { return copies_[index(expert)] > 1; })) {
        way_.back().leaves = spare;
        return true;
      }
      std::size_t home = 0;
      const auto moving = leaver(rank, [&](ExpertId expert) {
        home = home_of(expert);
        return home < held_.size();
      });
      if (!moving) return false;
      way_.back().leaves = moving;
      if (close_ring(home, *moving)) return true;
      rank = home;
      arriving = *moving;
    }
  }

  /// One that the rank is to lose, and for which `suits` holds.
  template <typename Suits>
  std::optional<ExpertId> leaver(std::size_t rank, Suits&& suits) const {
    for (const ExpertId expert : held_[rank]) {
      if (!holds(wanted_[rank], expert) && suits(expert)) return expert;
    }
    return std::nullopt;
  }

  /// A rank that is to have the expert and can still take one; the number of ranks for none.
  std::size_t home_of(ExpertId expert) const {
    std::size_t rank = 0;
    while (rank < held_.size() &&
           (has_arrival_[rank] || holds(held_[rank], expert) || !holds(wanted_[rank], expert)))
      ++rank;
    return rank;
  }

  /// Where the way comes back to one of its ranks, it begins there: with this expert.
  bool close_ring(std::size_t rank, ExpertId arriving) {
    const auto first =
        std::find_if(way_.begin(), way_.end(), [&](const Link& link) { return link.rank == rank; });
    if (first == way_.end()) return false;
    way_.erase(way_.begin(), first);
    way_.front().arrives = arriving;
    return true;
  }

  void follow(const Link& link) {
    Experts& held = held_[link.rank];
    has_arrival_[link.rank] = true;
    ++copies_[index(link.arrives)];
    if (!link.leaves) {
      held.push_back(link.arrives);
      return;
    }
    --copies_[index(*link.leaves)];
    *std::find(held.begin(), held.end(), *link.leaves) = link.arrives;
  }

  std::vector<Experts> held_;
  std::vector<Experts> wanted_;
  std::vector<std::size_t> size_;    // most experts of each rank
  std::vector<std::size_t> copies_;  // of each expert, over all ranks
  std::vector<bool> has_arrival_;    // in this pass
  std::vector<Link> way_;
};

}  // namespace

Placement next_stage(const Placement& now, const Placement& target, std::size_t room) {
  Stage stage(now, target);
  for (std::size_t pass = 0; pass < room; ++pass) stage.pass();
  return Placement(now.epoch() + 1, now.num_experts(), stage.take()).with_slowness(target.slowness());
}

Placement with_spare_copies(const Placement& placement, std::size_t num_spares) {
  if (num_spares == 0) return placement;
  std::vector<std::size_t> slots;
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank)
    slots.push_back(placement.experts_of(rank_at(rank)).size() + num_spares);
  return with_slots(placement, slots);
}

Placement with_slots(const Placement& placement, std::span<const std::size_t> slots_per_rank) {
  std::vector<Experts> ranks = experts_by_rank(placement);
  const std::size_t num_experts = placement.num_experts();
  std::size_t next = 0;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    Experts& experts = ranks[rank];
    if (!experts.empty()) next = index(experts.back()) + 1;
    const std::size_t held = placement.experts_of(rank_at(rank)).size();
    const std::size_t size = std::min(num_experts, std::max(held, slots_per_rank[rank]));
    for (; experts.size() < size; ++next) {
      const ExpertId expert = expert_at(next % num_experts);
      if (!holds(experts, expert)) experts.push_back(expert);
    }
  }
  return Placement(placement.epoch(), num_experts, std::move(ranks)).with_slowness(placement.slowness());
}

}  // namespace moewe
