#include "benchmarks/exchange/traffic.hpp"

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
  plan.build(exchange.routing(), contiguous_placement(exchange.num_experts, communicator.size()));
  std::vector<std::size_t> rows;
  std::vector<std::size_t> choices;
  for (std::size_t r = 0; r < communicator.size(); ++r) {
    const Destination to = plan.to(rank_at(r));
    rows.push_back(to.tokens.size() * exchange.format.bytes());
    choices.push_back(to.assignments.size() * exchange.format.bytes());
  }
  return {gather(communicator, rows), gather(communicator, choices)};
}

std::size_t Traffic::least_bytes_of(Rank rank, const ExchangeCase& exchange) const {
  const TrafficMatrix& outputs = returned(exchange.combine);
  const std::size_t sums = exchange.num_tokens * exchange.format.hidden * sizeof(float);
  return sum_to(rows, rank) + sum_to(outputs, rank) + sum_from(outputs, rank) + sums;
}

std::size_t bytes_between_ranks(const TrafficMatrix& matrix) {
  std::size_t sum = 0;
  for (std::size_t from = 0; from < matrix.size(); ++from) {
    for (std::size_t to = 0; to < matrix.size(); ++to) sum += from == to ? 0 : matrix[from][to];
  }
  return sum;
}

}  // namespace moewe::bench
