#include "placement/source_split.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "comm/error.hpp"
#include "placement/load_flow.hpp"
#include "placement/loads.hpp"

namespace moewe {
namespace {

/// Counts of one layer's assignments, by source and expert.
struct Counts {
  std::span<const std::int64_t> values;
  std::size_t num_experts;

  std::int64_t of(std::size_t source, std::size_t expert) const {
    return values[source * num_experts + expert];
  }
};

std::vector<std::int64_t> sum_over_sources(const Counts& counts, std::size_t num_ranks) {
  std::vector<std::int64_t> loads(counts.num_experts, 0);
  for (std::size_t source = 0; source < num_ranks; ++source) {
    checked_total(counts.values.subspan(source * counts.num_experts, counts.num_experts), counts.num_experts,
                  "split by source");
    for (std::size_t e = 0; e < counts.num_experts; ++e) {
      loads[e] = std::min(loads[e] + counts.of(source, e), max_total_load + 1);
    }
  }
  return loads;
}

/// What every slot serves if each assignment stays on its rank, or else on its node, in equal parts;
/// assignments of nodes that do not hold their expert are left.
class Homes {
 public:
  Homes(const Placement& placement, const Topology& topology, const Counts& counts)
      : placement_(placement), topology_(topology), counts_(counts) {}

  std::vector<std::int64_t> shares() {
    std::vector<std::int64_t> shares;
    for (std::size_t e = 0; e < placement_.num_experts(); ++e) append_shares(e, shares);
    return shares;
  }

 private:
  void append_shares(std::size_t expert, std::vector<std::int64_t>& shares) {
    const std::span<const Slot> slots = placement_.slots_of(expert_at(expert));
    slots_on_node_.assign(topology_.num_nodes(), 0);
    from_node_.assign(topology_.num_nodes(), 0);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (is_first(slots, i)) ++slots_on_node_[topology_.node_of(slots[i].rank)];
    }
    for (std::size_t source = 0; source < topology_.num_ranks(); ++source) {
      from_node_[topology_.node_of(rank_at(source))] += counts_.of(source, expert);
    }
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (is_first(slots, i))
        from_node_[topology_.node_of(slots[i].rank)] -= counts_.of(index(slots[i].rank), expert);
    }
    for (std::size_t i = 0; i < slots.size(); ++i) {
      shares.push_back(is_first(slots, i) ? counts_.of(index(slots[i].rank), expert) + part_of_node(slots[i])
                                          : 0);
    }
  }

  /// Of what ranks without the expert bring, for one of the node's slots that have not got theirs yet.
  std::int64_t part_of_node(const Slot& slot) {
    const std::size_t node = topology_.node_of(slot.rank);
    const std::int64_t part = ceil_div(from_node_[node], slots_on_node_[node]--);
    from_node_[node] -= part;
    return part;
  }

  /// An expert's second slot on a rank serves nothing.
  static bool is_first(std::span<const Slot> slots, std::size_t i) {
    return i == 0 || slots[i - 1].rank != slots[i].rank;
  }

  const Placement& placement_;
  const Topology& topology_;
  const Counts& counts_;
  std::vector<std::int64_t> slots_on_node_;  // [nodes] of one expert
  std::vector<std::int64_t> from_node_;      // [nodes] assignments of one expert by ranks without it
};

/// Fills the slots of one expert after the other from what its sources need.
class Quotas {
 public:
  Quotas(const Topology& topology, const Counts& counts, SourceSplit& result)
      : topology_(topology), counts_(counts), result_(result), left_(result.split.shares) {}

  /// `slots` are those of `expert`, of which the first is number `first` in the order of Split::shares.
  void fill(std::size_t expert, std::span<const Slot> slots, std::size_t first) {
    needs_.resize(topology_.num_ranks());
    for (std::size_t source = 0; source < needs_.size(); ++source)
      needs_[source] = counts_.of(source, expert);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      result_.on_own_rank += serve(index(slots[i].rank), first + i);
    }
    for (std::size_t i = 0; i < slots.size(); ++i) {
      for (const Rank source : topology_.node_ranks(slots[i].rank)) {
        result_.on_own_node += serve(index(source), first + i);
      }
    }
    std::size_t source = 0;
    for (std::size_t i = 0; i < slots.size(); ++i) {
      while (left_[first + i] > 0) {
        serve(source, first + i);
        if (needs_[source] == 0) ++source;
      }
    }
  }

 private:
  std::int64_t serve(std::size_t source, std::size_t slot) {
    const std::int64_t amount = std::min(needs_[source], left_[slot]);
    needs_[source] -= amount;
    left_[slot] -= amount;
    result_.quotas[source * left_.size() + slot] += amount;
    return amount;
  }

  const Topology& topology_;
  const Counts& counts_;
  SourceSplit& result_;
  std::vector<std::int64_t> left_;   // [slots]
  std::vector<std::int64_t> needs_;  // [sources]
};

}  // namespace

SourceSplit split_by_source(const Placement& placement, const Topology& topology,
                            std::span<const std::int64_t> counts) {
  const std::size_t num_ranks = placement.num_ranks();
  if (topology.num_ranks() != num_ranks || counts.size() != num_ranks * placement.num_experts()) {
    throw InvalidInput(
        fmt::format("split by source: {} counts on {} ranks, but the placement asks for {} on {}",
                    counts.size(), topology.num_ranks(), num_ranks * placement.num_experts(), num_ranks));
  }
  const Counts table{counts, placement.num_experts()};
  SourceSplit result;
  result.split = Splitter(placement).split_near(sum_over_sources(table, num_ranks),
                                                Homes(placement, topology, table).shares());
  result.quotas.assign(num_ranks * placement.num_slots(), 0);
  Quotas quotas(topology, table, result);
  std::size_t first = 0;
  for (std::size_t e = 0; e < placement.num_experts(); ++e) {
    const std::span<const Slot> slots = placement.slots_of(expert_at(e));
    quotas.fill(e, slots, first);
    first += slots.size();
  }
  result.on_own_node += result.on_own_rank;
  return result;
}

}  // namespace moewe
