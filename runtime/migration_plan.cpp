#include "runtime/migration_plan.hpp"

#include <algorithm>
#include <tuple>
#include <utility>
#include <xxhash.h>

namespace moewe {
namespace {

/// Neighbouring slots of one expert may be on one rank.
std::vector<Rank> holders_of(const Placement& placement, ExpertId expert) {
  std::vector<Rank> ranks;
  for (const Slot& slot : placement.slots_of(expert)) {
    if (ranks.empty() || ranks.back() != slot.rank) ranks.push_back(slot.rank);
  }
  return ranks;
}

struct Arrival {
  ExpertId expert;
  Rank to;
  std::uint32_t position;
  std::vector<Rank> sources;  // those of the receiver's node, or of the others
};

std::vector<Rank> sources_for(const std::vector<Rank>& holders, Rank to, const Topology& topology) {
  std::vector<Rank> near;
  std::copy_if(holders.begin(), holders.end(), std::back_inserter(near),
               [&](Rank rank) { return topology.share_node(rank, to); });
  return near.empty() ? holders : near;
}

/// Those with the least choice first: what is left to choose evens out what they had to take.
std::vector<Arrival> arrivals(const Placement& now, const Placement& next, const Topology& topology) {
  std::vector<Arrival> all;
  for (std::size_t e = 0; e < next.num_experts(); ++e) {
    const std::vector<Rank> holders = holders_of(now, expert_at(e));
    Rank last{-1};
    for (const Slot& slot : next.slots_of(expert_at(e))) {
      const bool is_there = std::find(holders.begin(), holders.end(), slot.rank) != holders.end();
      if (!is_there && slot.rank != last)
        all.push_back({expert_at(e), slot.rank, slot.position, sources_for(holders, slot.rank, topology)});
      last = slot.rank;
    }
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Arrival& a, const Arrival& b) { return a.sources.size() < b.sources.size(); });
  return all;
}

/// Gives moves to rounds such that no rank sends or receives two in one. A new move takes a round in which
/// its sender is idle and one in which its receiver is; where these differ, the moves that stand in its way
/// along the path from the receiver swap the two rounds.
class Rounds {
 public:
  Rounds(std::size_t num_ranks, std::size_t num_rounds)
      : num_rounds_(num_rounds), sent_(num_ranks * num_rounds), received_(num_ranks * num_rounds) {}

  void add(Move& move) {
    const std::size_t idle_sender = first_idle(sent_, move.from);
    const std::size_t idle_receiver = first_idle(received_, move.to);
    if (idle_sender != idle_receiver) make_idle(move.to, idle_sender, idle_receiver);
    set(move, idle_sender);
  }

 private:
  using Table = std::vector<Move*>;

  Move*& at(Table& table, Rank rank, std::size_t round) { return table[index(rank) * num_rounds_ + round]; }

  std::size_t first_idle(Table& table, Rank rank) {
    std::size_t round = 0;
    while (at(table, rank, round) != nullptr) ++round;
    return round;
  }

  void set(Move& move, std::size_t round) {
    move.round = round;
    at(sent_, move.from, round) = &move;
    at(received_, move.to, round) = &move;
  }

  /// Frees `round` for the receiver. The path alternates between the two rounds, and does not come to the
  /// new move's sender, who is idle in `round` while every sender on it is reached by that very round.
  void make_idle(Rank receiver, std::size_t round, std::size_t other) {
    std::vector<Move*> path;
    for (Move* move = at(received_, receiver, round); move != nullptr;) {
      path.push_back(move);
      Move* const next = path.size() % 2 == 1 ? at(sent_, move->from, other) : at(received_, move->to, round);
      move = next;
    }
    for (const Move* move : path) {
      at(sent_, move->from, move->round) = nullptr;
      at(received_, move->to, move->round) = nullptr;
    }
    for (Move* move : path) set(*move, move->round == round ? other : round);
  }

  std::size_t num_rounds_;
  Table sent_;
  Table received_;
};

std::size_t busiest(const std::vector<Move>& moves, std::size_t num_ranks) {
  std::vector<std::size_t> sent(num_ranks, 0), received(num_ranks, 0);
  std::size_t most = 0;
  for (const Move& move : moves)
    most = std::max({most, ++sent[index(move.from)], ++received[index(move.to)]});
  return most;
}

template <typename Is>
const Move* find_in_round(const std::vector<Move>& moves, std::size_t round, Is&& is) {
  const auto less = [](const Move& move, std::size_t value) { return move.round < value; };
  auto move = std::lower_bound(moves.begin(), moves.end(), round, less);
  for (; move != moves.end() && move->round == round; ++move) {
    if (is(*move)) return &*move;
  }
  return nullptr;
}

}  // namespace

const Move* MigrationPlan::sent_by(Rank rank, std::size_t round) const {
  return find_in_round(moves, round, [&](const Move& move) { return move.from == rank; });
}

const Move* MigrationPlan::received_by(Rank rank, std::size_t round) const {
  return find_in_round(moves, round, [&](const Move& move) { return move.to == rank; });
}

std::size_t MigrationPlan::num_received_by(Rank rank) const {
  const auto count = std::count_if(moves.begin(), moves.end(), [&](const Move& m) { return m.to == rank; });
  return static_cast<std::size_t>(count);
}

std::uint64_t MigrationPlan::digest() const {
  std::vector<std::uint64_t> words{from_epoch, to_epoch, num_rounds};
  for (const Move& move : moves) {
    for (const std::uint64_t word :
         {std::uint64_t{index(move.expert)}, std::uint64_t{index(move.from)}, std::uint64_t{index(move.to)},
          std::uint64_t{move.position}, std::uint64_t{move.round}})
      words.push_back(word);
  }
  return XXH3_64bits(words.data(), words.size() * sizeof(std::uint64_t));
}

MigrationPlan plan_migration(const Placement& now, const Placement& next, const Topology& topology) {
  MigrationPlan plan{now.epoch(), next.epoch(), {}, 0};
  std::vector<std::size_t> num_sent(now.num_ranks(), 0);
  for (const Arrival& arrival : arrivals(now, next, topology)) {
    const auto is_less_busy = [&](Rank a, Rank b) { return num_sent[index(a)] < num_sent[index(b)]; };
    const Rank from = *std::min_element(arrival.sources.begin(), arrival.sources.end(), is_less_busy);
    ++num_sent[index(from)];
    plan.moves.push_back({arrival.expert, from, arrival.to, arrival.position, 0});
  }
  plan.num_rounds = busiest(plan.moves, now.num_ranks());
  Rounds rounds(now.num_ranks(), plan.num_rounds);
  for (Move& move : plan.moves) rounds.add(move);
  std::sort(plan.moves.begin(), plan.moves.end(), [](const Move& a, const Move& b) {
    return std::tuple(a.round, a.to) < std::tuple(b.round, b.to);
  });
  return plan;
}

std::size_t num_distinct_experts(const Placement& placement, Rank rank) {
  std::vector<ExpertId> experts(placement.experts_of(rank).begin(), placement.experts_of(rank).end());
  std::sort(experts.begin(), experts.end());
  return static_cast<std::size_t>(std::unique(experts.begin(), experts.end()) - experts.begin());
}

}  // namespace moewe
