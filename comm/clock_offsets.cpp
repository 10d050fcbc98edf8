#include "comm/clock_offsets.hpp"

#include <algorithm>
#include <limits>

namespace moewe {
namespace {

constexpr std::size_t num_tries = 32;

/// Of each node, what is to be added to its times: [lowest, highest], as far as one rank can tell.
struct Bounds {
  explicit Bounds(std::size_t num_nodes)
      : lowest(num_nodes, std::numeric_limits<std::int64_t>::min() / 2),
        highest(num_nodes, std::numeric_limits<std::int64_t>::max() / 2) {}

  std::vector<std::int64_t> lowest;
  std::vector<std::int64_t> highest;
};

void tighten(const Topology& topology, std::size_t own_node, std::span<const std::int64_t> sent,
             std::int64_t had, Bounds& bounds) {
  for (std::size_t rank = 0; rank < sent.size(); ++rank) {
    const std::size_t node = topology.node_of(rank_at(rank));
    if (own_node == 0) bounds.highest[node] = std::min(bounds.highest[node], had - sent[rank]);
    if (node == 0) bounds.lowest[own_node] = std::max(bounds.lowest[own_node], sent[rank] - had);
  }
}

}  // namespace

std::chrono::nanoseconds steady_now() { return std::chrono::steady_clock::now().time_since_epoch(); }

std::vector<ClockOffset> measure_clock_offsets(Communicator& communicator,
                                               const std::function<std::chrono::nanoseconds()>& read_clock) {
  const Topology& topology = communicator.topology();
  std::vector<ClockOffset> offsets(topology.num_nodes());
  if (offsets.size() == 1) return offsets;
  Bounds bounds(offsets.size());
  for (std::size_t n = 0; n < num_tries; ++n) {
    const auto sent = all_gather_values<std::int64_t>(communicator, read_clock().count());
    tighten(topology, topology.node_of(communicator.rank()), sent, read_clock().count(), bounds);
  }
  communicator.all_reduce({.sums = {}, .minima = bounds.highest, .maxima = bounds.lowest});
  for (std::size_t node = 1; node < offsets.size(); ++node) {
    const std::int64_t width = std::max<std::int64_t>(0, bounds.highest[node] - bounds.lowest[node]);
    offsets[node].to_first = std::chrono::nanoseconds(bounds.lowest[node] + width / 2);
    offsets[node].error = std::chrono::nanoseconds(width - width / 2);
  }
  return offsets;
}

}  // namespace moewe
