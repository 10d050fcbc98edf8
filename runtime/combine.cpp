#include "runtime/combine.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "comm/error.hpp"
#include "runtime/kernels/elementwise.hpp"
#include "runtime/parallel.hpp"

namespace moewe {
namespace {

/// Columns that are summed at a time: the sum stays in the first-level cache while all k pass.
constexpr std::size_t block = 1024;
using Block = std::array<float, block>;

void add_part(float weight, const std::byte* row, std::size_t first, Dtype dtype, std::span<float> sum) {
  if (dtype == Dtype::f32) {
    add_weighted(weight, reinterpret_cast<const float*>(row) + first, sum);
  } else {
    add_weighted(weight, reinterpret_cast<const Bf16*>(row) + first, sum);
  }
}

void store(std::span<const float> sum, std::size_t first, Dtype dtype, std::byte* row) {
  if (dtype == Dtype::f32) {
    std::memcpy(row + first * sizeof(float), sum.data(), sum.size_bytes());
  } else {
    round_to_bf16(sum, {reinterpret_cast<Bf16*>(row) + first, sum.size()});
  }
}

void combine_token(const Routing& routing, const ReturnTable& returned, std::size_t token, Dtype dtype,
                   bool add_to_y, std::span<float> y) {
  const bool is_weighted = returned.combine() == Combine::fast;
  Block sum_of_block;
  for (std::size_t first = 0; first < y.size(); first += block) {
    const std::span<float> sum(sum_of_block.data(), std::min(block, y.size() - first));
    std::fill(sum.begin(), sum.end(), 0.0F);
    for (std::size_t k = 0; k < routing.top_k; ++k) {
      const std::byte* output = returned.output(token, k);
      if (output == nullptr) continue;
      const float weight = is_weighted ? 1.0F : routing.weights[token * routing.top_k + k];
      add_part(weight, output, first, dtype, sum);
    }
    const std::span<float> part = y.subspan(first, sum.size());
    if (add_to_y) add_weighted(1.0F, part.data(), sum);
    std::copy(sum.begin(), sum.end(), part.begin());
  }
}

}  // namespace

void combine(const Routing& routing, const ReturnTable& returned, const RowFormat& format, bool add_to_y,
             std::span<float> y, std::size_t num_threads) {
  parallel_for(num_threads, routing.num_tokens, [&](std::size_t token, std::size_t) {
    combine_token(routing, returned, token, format.dtype, add_to_y,
                  y.subspan(token * format.hidden, format.hidden));
  });
}

void sum_rows(const ArrivedRows& arrived, const RowFormat& format) {
  const std::span assignments = arrived.assignments;
  Block sum_of_block;
  std::byte* to = arrived.outputs;
  for (std::size_t begin = 0; begin < assignments.size();) {
    // A row's sum is stored no later than where its first output lies, and read before it is written.
    std::size_t end = begin + 1;
    while (end < assignments.size() && assignments[end].row == assignments[begin].row) ++end;
    for (std::size_t first = 0; first < format.hidden; first += block) {
      const std::span<float> sum(sum_of_block.data(), std::min(block, format.hidden - first));
      std::fill(sum.begin(), sum.end(), 0.0F);
      for (std::size_t i = begin; i < end; ++i) {
        add_part(assignments[i].weight, arrived.outputs + i * format.bytes(), first, format.dtype, sum);
      }
      store(sum, first, format.dtype, to);
    }
    to += format.bytes();
    begin = end;
  }
}

void sum_partial_sums(std::span<const std::byte* const> rows, const RowFormat& format, std::byte* to) {
  Block sum_of_block;
  for (std::size_t first = 0; first < format.hidden; first += block) {
    const std::span<float> sum(sum_of_block.data(), std::min(block, format.hidden - first));
    std::fill(sum.begin(), sum.end(), 0.0F);
    for (const std::byte* row : rows) add_part(1.0F, row, first, format.dtype, sum);
    store(sum, first, format.dtype, to);
  }
}

std::size_t count_rows(std::span<const PlannedAssignment> assignments) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < assignments.size(); ++i) {
    if (i == 0 || assignments[i].row != assignments[i - 1].row) ++count;
  }
  return count;
}

}  // namespace moewe
