#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/rank.hpp"

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

/// Rows that have arrived, by the slot that computes them.
class RowTable {
 public:
  void reset(std::size_t num_slots) {
    rows_.resize(num_slots);
    for (auto& rows : rows_) rows.clear();
    num_rows_ = 0;
  }

  void add(std::size_t slot, const Row& row) {
    rows_[slot].push_back(row);
    ++num_rows_;
  }

  std::size_t num_slots() const { return rows_.size(); }
  std::size_t num_rows() const { return num_rows_; }
  std::span<const Row> rows(std::size_t slot) const { return rows_[slot]; }

 private:
  std::vector<std::vector<Row>> rows_;
  std::size_t num_rows_ = 0;
};

}  // namespace moewe
