#include "benchmarks/exchange/traffic.hpp"

#include <algorithm>

#include "runtime/dispatch_plan.hpp"

namespace moewe::bench {
namespace {

TrafficMatrix gather(Communicator& communicator, const std::vector<std::size_t>& mine) {
  std::vector<std::size_t> all(mine.size() * communicator.size());
  communicator.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  TrafficMatrix matrix;
  for (std::size_t from = 0; from < communicator.size(); ++from) {
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(from * mine.size());
    matrix.emplace_back(first, first + static_cast<std::ptrdiff_t>(mine.size()));
  }
  return matrix;
}

/// Bytes of rows to each node.
std::vector<std::size_t> count_node_rows(const DispatchPlan& plan, const Topology& topology,
                                         std::size_t row_bytes) {
  std::vector<std::size_t> bytes(topology.num_nodes(), 0);
  std::vector<std::vector<bool>> goes(topology.num_nodes(), std::vector<bool>(plan.num_tokens(), false));
  for (std::size_t r = 0; r < plan.num_ranks(); ++r) {
    for (const std::uint32_t token : plan.to(rank_at(r)).tokens)
      goes[topology.node_of(rank_at(r))][token] = true;
  }
  for (std::size_t node = 0; node < bytes.size(); ++node) {
    bytes[node] =
        row_bytes * static_cast<std::size_t>(std::count(goes[node].begin(), goes[node].end(), true));
  }
  return bytes;
}

std::size_t sum_to(const TrafficMatrix& matrix, Rank rank) {
  std::size_t sum = 0;
  for (const auto& row : matrix) sum += row[index(rank)];
  return sum;
}

std::size_t sum_from(const TrafficMatrix& matrix, Rank rank) {
  std::size_t sum = 0;
  for (const std::size_t bytes : matrix[index(rank)]) sum += bytes;
  return sum;
}

}  // namespace

Traffic gather_traffic(Communicator& communicator, const ExchangeCase& exchange) {
  MemoryMeter meter;
  DispatchPlan plan(meter);
  SlotChoice choice;
  plan.build(exchange.routing(), contiguous_placement(exchange.num_experts, communicator.size()), choice);
  std::vector<std::size_t> rows;
  std::vector<std::size_t> choices;
  for (std::size_t r = 0; r < communicator.size(); ++r) {
    const Destination to = plan.to(rank_at(r));
    rows.push_back(to.tokens.size() * exchange.format.bytes());
    choices.push_back(to.assignments.size() * exchange.format.bytes());
  }
  const auto node_rows = count_node_rows(plan, communicator.topology(), exchange.format.bytes());
  return {gather(communicator, rows), gather(communicator, choices), gather(communicator, node_rows)};
}

std::size_t Traffic::least_bytes_of(Rank rank, const ExchangeCase& exchange) const {
  const TrafficMatrix& outputs = returned(exchange.combine);
  const std::size_t sums = exchange.num_tokens * exchange.format.hidden * sizeof(float);
  return sum_to(rows, rank) + sum_to(outputs, rank) + sum_from(outputs, rank) + sums;
}

std::size_t bytes_on_wire(const TrafficMatrix& matrix, const Topology& topology) {
  const bool has_nodes = topology.num_nodes() > 1;
  std::size_t sum = 0;
  for (std::size_t from = 0; from < matrix.size(); ++from) {
    for (std::size_t to = 0; to < matrix.size(); ++to) {
      const bool is_near = has_nodes ? topology.share_node(rank_at(from), rank_at(to)) : from == to;
      sum += is_near ? 0 : matrix[from][to];
    }
  }
  return sum;
}

std::size_t bytes_between_nodes(const TrafficMatrix& node_rows, const Topology& topology) {
  std::size_t sum = 0;
  for (std::size_t from = 0; from < node_rows.size(); ++from) {
    for (std::size_t node = 0; node < node_rows[from].size(); ++node) {
      sum += node == topology.node_of(rank_at(from)) ? 0 : node_rows[from][node];
    }
  }
  return sum;
}

}  // namespace moewe::bench
