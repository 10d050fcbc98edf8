#include "placement/time_cost.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

#include "comm/error.hpp"
#include "placement/loads.hpp"
#include "placement/split.hpp"
#include "placement/wide.hpp"

namespace moewe {
namespace {

constexpr Millionths one = 1'000'000;
constexpr Millionths most_slowness = 1000 * one;

Picoseconds plus(Picoseconds a, Picoseconds b) { return std::min(max_time, a + b); }
Picoseconds times(std::int64_t a, std::int64_t b) {
  return static_cast<Picoseconds>(std::min(wide(max_time), wide(a) * wide(b)));
}

/// Rows of one rank over one kind of link; those of tokens in 1 / token_parts.
struct Traffic {
  std::int64_t tokens_in = 0;
  std::int64_t tokens_out = 0;
  std::int64_t assignments_in = 0;
  std::int64_t assignments_out = 0;
};

Picoseconds times_parts(std::int64_t parts, std::int64_t time) {
  const Wide product = wide(parts) * wide(time) / wide(token_parts);
  return static_cast<Picoseconds>(std::min(wide(max_time), product));
}

Picoseconds time_of(const Traffic& traffic, const RowTimes& times_of_row, bool returns_sums) {
  const std::int64_t tokens = std::max(traffic.tokens_in, traffic.tokens_out);
  const std::int64_t assignments = std::max(traffic.assignments_in, traffic.assignments_out);
  const Picoseconds there = times_parts(tokens, times_of_row.dispatch);
  return plus(there,
              returns_sums ? times_parts(tokens, times_of_row.back) : times(assignments, times_of_row.back));
}

/// Slots in the order of Split::shares, listed by ranks and by nodes.
class SlotLists {
 public:
  SlotLists(const Placement& placement, const Topology& topology)
      : of_rank_(placement.num_ranks()), of_node_(topology.num_nodes()) {
    std::size_t next = 0;
    for (std::size_t expert = 0; expert < placement.num_experts(); ++expert) {
      for (const Slot& slot : placement.slots_of(expert_at(expert))) {
        of_rank_[index(slot.rank)].push_back({expert, next});
        of_node_[topology.node_of(slot.rank)].push_back({expert, next});
        ++next;
      }
    }
  }

  struct Entry {
    std::size_t expert;
    std::size_t slot;
  };
  const std::vector<Entry>& of_rank(std::size_t rank) const { return of_rank_[rank]; }
  const std::vector<Entry>& of_node(std::size_t node) const { return of_node_[node]; }

 private:
  std::vector<std::vector<Entry>> of_rank_;
  std::vector<std::vector<Entry>> of_node_;
};

class LayerClock {
 public:
  LayerClock(const Placement& placement, const Topology& topology, const SourceSplit& split,
             const CostCoefficients& coefficients)
      : topology_(topology),
        split_(split),
        coefficients_(coefficients),
        slots_(placement, topology),
        inside_(placement.num_ranks()),
        between_(placement.num_ranks()) {}

  LayerTime run() {
    for (std::size_t source = 0; source < inside_.size(); ++source) count_rows(source);
    for (std::size_t rank = 0; rank < inside_.size(); ++rank) add_rank(rank);
    return std::move(time_);
  }

 private:
  void count_rows(std::size_t source) {
    const std::span<const std::int64_t> quotas = split_.quotas_of(rank_at(source));
    const std::int64_t sum = std::accumulate(quotas.begin(), quotas.end(), std::int64_t{0});
    const std::int64_t num_tokens = ceil_div(sum, coefficients_.top_k);
    time_.num_tokens += num_tokens;
    for (std::size_t to = 0; to < inside_.size(); ++to) {
      collect(slots_.of_rank(to), quotas);
      if (to != source) add_traffic(source, to, expected_tokens(num_tokens, taken_));
    }
    for (std::size_t node = 0; node < topology_.num_nodes(); ++node) {
      collect(slots_.of_node(node), quotas);
      time_.node_visits += expected_tokens(num_tokens, taken_);
    }
  }

  /// What a source takes of each expert in these slots.
  void collect(const std::vector<SlotLists::Entry>& slots, std::span<const std::int64_t> quotas) {
    taken_.clear();
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (i == 0 || slots[i].expert != slots[i - 1].expert) taken_.push_back(0);
      taken_.back() += quotas[slots[i].slot];
    }
  }

  void add_traffic(std::size_t from, std::size_t to, std::int64_t tokens) {
    std::vector<Traffic>& link = topology_.share_node(rank_at(from), rank_at(to)) ? inside_ : between_;
    const std::int64_t assignments = std::accumulate(taken_.begin(), taken_.end(), std::int64_t{0});
    link[from].tokens_out += tokens;
    link[from].assignments_out += assignments;
    link[to].tokens_in += tokens;
    link[to].assignments_in += assignments;
  }

  Picoseconds compute(std::size_t rank) const {
    Picoseconds sum = 0;
    for (const SlotLists::Entry& entry : slots_.of_rank(rank)) {
      const std::int64_t share = split_.split.shares[entry.slot];
      if (share == 0) continue;
      const std::int64_t rows = ceil_div(share, coefficients_.tile_rows) * coefficients_.tile_rows;
      sum = plus(sum, std::max(coefficients_.weight_read, times(rows, coefficients_.row)));
      sum = plus(sum, coefficients_.expert);
    }
    if (coefficients_.slowness.empty()) return sum;
    const Wide scaled = wide(sum) * wide(coefficients_.slowness[rank]) / wide(one);
    return static_cast<Picoseconds>(std::min(wide(max_time), scaled));
  }

  void add_rank(std::size_t rank) {
    const bool sums = coefficients_.returns_sums;
    time_.of_rank.push_back({compute(rank), time_of(inside_[rank], coefficients_.inside_nodes, sums),
                             time_of(between_[rank], coefficients_.between_nodes, sums)});
    time_.longest = std::max(time_.longest, time_.of_rank.back().total());
  }

  const Topology& topology_;
  const SourceSplit& split_;
  const CostCoefficients& coefficients_;
  SlotLists slots_;
  std::vector<Traffic> inside_;   // [ranks]
  std::vector<Traffic> between_;  // [ranks]
  std::vector<std::int64_t> taken_;
  LayerTime time_;
};

void require(bool condition, const std::string& what) {
  if (!condition) throw InvalidInput("costs: " + what);
}

}  // namespace

void check_coefficients(const CostCoefficients& c, std::size_t num_ranks) {
  require(c.top_k >= 1 && c.top_k <= max_coefficient, "top_k must be 1 or more");
  require(c.tile_rows >= 1 && c.tile_rows <= (1 << 20), "tile_rows must be from 1 to 1048576");
  for (const Picoseconds time : {c.row, c.weight_read, c.expert, c.inside_nodes.dispatch, c.inside_nodes.back,
                                 c.between_nodes.dispatch, c.between_nodes.back})
    require(time >= 0 && time <= max_coefficient,
            fmt::format("times must be from 0 to {} ps", max_coefficient));
  require(c.slowness.empty() || c.slowness.size() == num_ranks,
          fmt::format("slowness is of {} ranks, but there are {}", c.slowness.size(), num_ranks));
  for (const Millionths slowness : c.slowness)
    require(slowness > 0 && slowness <= most_slowness, "a rank's slowness must be above 0 and at most 1000");
}

LayerTime layer_time(const Placement& placement, const Topology& topology, const SourceSplit& split,
                     const CostCoefficients& coefficients) {
  check_coefficients(coefficients, placement.num_ranks());
  expects(topology.num_ranks() == placement.num_ranks() &&
              split.split.shares.size() == placement.num_slots() &&
              split.quotas.size() == placement.num_ranks() * placement.num_slots(),
          "a split and its placement are of the same ranks and slots");
  return LayerClock(placement, topology, split, coefficients).run();
}

std::int64_t expected_tokens(std::int64_t num_tokens, std::span<const std::int64_t> assignments) {
  std::int64_t missed = max_total_load;  // of as many: the share of tokens that take none of the experts
  std::int64_t most = 0;
  std::int64_t sum = 0;
  for (const std::int64_t count : assignments) {
    const std::int64_t takers = std::min(count, num_tokens);
    if (takers > 0) missed = multiply_and_divide(missed, num_tokens - takers, num_tokens).quotient;
    most = std::max(most, takers);
    sum = std::min(sum + takers, num_tokens);
  }
  const std::int64_t parts = num_tokens * token_parts;
  const Wide others = wide(parts) * wide(missed) / wide(max_total_load);
  return std::clamp(parts - static_cast<std::int64_t>(others), most * token_parts, sum * token_parts);
}

std::vector<std::int64_t> spread_over_sources(std::span<const std::int64_t> loads, std::size_t num_ranks) {
  const auto ranks = static_cast<std::int64_t>(num_ranks);
  std::vector<std::int64_t> counts(num_ranks * loads.size());
  std::int64_t next = 0;  // source of the next single assignment that is left
  for (std::size_t expert = 0; expert < loads.size(); ++expert) {
    for (std::size_t source = 0; source < num_ranks; ++source)
      counts[source * loads.size() + expert] = loads[expert] / ranks;
    for (std::int64_t left = loads[expert] % ranks; left > 0; --left, next = (next + 1) % ranks)
      ++counts[static_cast<std::size_t>(next) * loads.size() + expert];
  }
  return counts;
}

}  // namespace moewe
