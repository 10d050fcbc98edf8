#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/rank.hpp"
#include "runtime/dispatch_plan.hpp"

namespace moewe {

/// One row for one expert: where it lies, where the expert's output goes, and whose it is. Whoever computes
/// reads and writes these addresses and never asks what is behind them.
struct Row {
  const std::byte* input;
  std::byte* output;
  Rank source;
  std::uint32_t token;  ///< on the source
  std::uint32_t k;
};

/// Assignments of one source that have arrived together: one after the other in `inputs`, by row or by token,
/// and in `outputs`, in their own order.
struct ArrivedRows {
  Rank source;
  std::span<const PlannedAssignment> assignments;
  const std::byte* inputs;
  std::uint32_t PlannedAssignment::*input_index;  ///< which number of an assignment counts rows in `inputs`
  std::size_t num_inputs;                         ///< rows that `inputs` holds
  std::byte* outputs;
};

/// Rows that have arrived, by the slot that computes them.
class RowTable {
 public:
  void reset(std::size_t num_slots, std::size_t row_bytes, std::size_t output_bytes);

  /// Throws Error(verification), naming the source, when an assignment points outside of slots or inputs.
  void add(const ArrivedRows& arrived);

  std::size_t num_slots() const { return rows_.size(); }
  std::size_t num_rows() const { return num_rows_; }
  std::span<const Row> rows(std::size_t slot) const { return rows_[slot]; }

 private:
  std::size_t row_bytes_ = 0;
  std::size_t output_bytes_ = 0;
  std::vector<std::vector<Row>> rows_;
  std::size_t num_rows_ = 0;
};

}  // namespace moewe
