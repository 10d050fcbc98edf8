#include "runtime/combine.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "comm/error.hpp"
#include "runtime/kernels/elementwise.hpp"
#include "runtime/kernels/weighted_sum.hpp"
#include "runtime/parallel.hpp"

namespace moewe {
namespace {

/// Columns that are summed at a time: the sum stays in the first-level cache while all k pass.
constexpr std::size_t block = 1024;
using Block = std::array<float, block>;

/// What came back for a token, in the order of k.
void list_outputs(const CombineInput& input, std::size_t token, std::vector<WeightedRow>& rows) {
  const auto& [routing, returned, format, add_to_y] = input;
  const bool is_weighted = returned.combine() == Combine::fast;
  rows.clear();
  for (std::size_t k = 0; k < routing.top_k; ++k) {
    const std::byte* output = returned.output(token, k);
    if (output == nullptr) continue;
    rows.push_back({output, is_weighted ? 1.0F : routing.weights[token * routing.top_k + k]});
  }
}

/// By way of a block where y is added to.
void sum_token(std::span<const WeightedRow> rows, const CombineInput& input, std::span<float> y) {
  const Dtype dtype = input.format.dtype;
  if (!input.add_to_y) return sum_weighted(rows, 0, dtype, y);
  Block sum_of_block;
  for (std::size_t first = 0; first < y.size(); first += block) {
    const std::span<float> sum(sum_of_block.data(), std::min(block, y.size() - first));
    sum_weighted(rows, first, dtype, sum);
    const std::span<float> part = y.subspan(first, sum.size());
    add_weighted(1.0F, part.data(), sum);
    std::copy(sum.begin(), sum.end(), part.begin());
  }
}

}  // namespace

void combine(const CombineInput& input, TokenRange tokens, std::span<float> y, std::size_t num_threads) {
  const std::size_t hidden = input.format.hidden;
  parallel_for(num_threads, tokens.count, [&](std::size_t i, std::size_t) {
    thread_local std::vector<WeightedRow> rows;
    const std::size_t token = tokens.first + i;
    list_outputs(input, token, rows);
    sum_token(rows, input, y.subspan(token * hidden, hidden));
  });
}

void sum_rows(const ArrivedRows& arrived, const RowFormat& format) {
  const Stores stores = arrived.results == arrived.outputs ? Stores::cached : arrived.output_stores;
  const std::span assignments = arrived.assignments;
  std::vector<WeightedRow> rows;
  std::vector<std::byte> sum(stores == Stores::streaming ? format.bytes() : 0);
  std::byte* to = arrived.outputs;
  for (std::size_t begin = 0; begin < assignments.size();) {
    // A row's sum is stored no later than where its first output lies.
    std::size_t end = begin;
    rows.clear();
    for (; end < assignments.size() && assignments[end].row == assignments[begin].row; ++end) {
      rows.push_back({arrived.results + end * format.bytes(), assignments[end].weight});
    }
    sum_weighted_rounded(rows, format.dtype, format.hidden, sum.empty() ? to : sum.data());
    if (!sum.empty()) copy_row(sum.data(), to, sum.size(), stores);
    to += format.bytes();
    begin = end;
  }
  finish_stores(stores);
}

void sum_partial_sums(std::span<const std::byte* const> rows, const RowFormat& format, std::byte* to) {
  std::vector<WeightedRow> parts;
  for (const std::byte* row : rows) parts.push_back({row, 1.0F});
  sum_weighted_rounded(parts, format.dtype, format.hidden, to);
}

std::size_t count_rows(std::span<const PlannedAssignment> assignments) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < assignments.size(); ++i) {
    if (i == 0 || assignments[i].row != assignments[i - 1].row) ++count;
  }
  return count;
}

}  // namespace moewe
