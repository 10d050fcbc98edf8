#include "launch/migration_budget.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>

#include "launch/human.hpp"

namespace moewe {
namespace {

constexpr std::uint64_t first_steps = 4;  // the very first, in which everything is new, is not timed
constexpr std::uint64_t steps_between = 32;

std::size_t most_ranks_of_node(const Topology& topology) {
  std::size_t most = 0;
  for (std::size_t rank = 0; rank < topology.num_ranks(); ++rank)
    most = std::max(most, topology.node_ranks(rank_at(rank)).size());
  return most;
}

}  // namespace

std::size_t MigrationBudget::of_link(const LinkCost& link, std::size_t num_ranks, double step_s) {
  const double bytes = link_share * step_s / link.s_per_byte / static_cast<double>(num_ranks);
  return static_cast<std::size_t>(std::clamp(bytes, double{least}, double{most}));
}

MigrationBudget::MigrationBudget(const Topology& topology, std::size_t given,
                                 std::optional<LinkCost> between_nodes)
    : given_(given),
      num_nodes_(topology.num_nodes()),
      num_ranks_(most_ranks_of_node(topology)),
      link_(between_nodes) {}

void MigrationBudget::step_done(Communicator& communicator, double seconds) {
  if (!follows_link() || num_steps_++ == 0) return;
  seconds_ += seconds;
  ++num_timed_;
  if (num_steps_ != first_steps && num_steps_ % steps_between != 0) return;
  std::array<std::int64_t, 1> nanoseconds{std::llround(seconds_ * 1e9 / static_cast<double>(num_timed_))};
  communicator.all_reduce({.sums = {}, .minima = nanoseconds, .maxima = {}});
  step_s_ = static_cast<double>(nanoseconds[0]) * 1e-9;
  seconds_ = 0;
  num_timed_ = 0;
}

std::size_t MigrationBudget::bytes(bool is_between_nodes) const {
  if (given_ > 0) return given_;
  if (!is_between_nodes || !follows_link()) return inside_nodes;
  return step_s_ ? of_link(*link_, num_ranks_, *step_s_) : least;
}

std::string MigrationBudget::reason() const {
  if (given_ > 0) return "asked for";
  if (num_nodes_ == 1) return "all ranks share a node";
  if (!link_) return "links were not measured";
  if (!step_s_) return "one chunk, until steps are timed";
  const std::size_t chosen = bytes();
  const char* const bound = chosen == least  ? ", but at least one chunk"
                            : chosen == most ? ", but at most what can be under way"
                                             : "";
  return fmt::format("{:.0f} % of the {} that leave a node, in steps of {}, shared by {} ranks{}",
                     100 * link_share, human(1 / link_->s_per_byte, "B/s"), human_time(*step_s_), num_ranks_,
                     bound);
}

}  // namespace moewe
