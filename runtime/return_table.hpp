#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "comm/buffer.hpp"
#include "runtime/dispatch_plan.hpp"

namespace moewe {

/// What comes back for a token.
enum class Combine {
  reproducible,  ///< the output of each assignment: the sum has the same bits wherever they were computed
  fast,          ///< one weighted partial sum per rank, or node, that computed for the token
};

/// Where what came back for each (token, k) of this rank lies: the expert's output; or, for the first of a
/// row's k, the row's partial sum. Null for the others and for what the plan has not sent out.
class ReturnTable {
 public:
  static constexpr std::string_view meter_name = "return table";
  explicit ReturnTable(MemoryMeter& meter) : outputs_(meter, meter_name) {}

  static std::size_t bytes_for(std::size_t num_tokens, std::size_t top_k) {
    return num_tokens * top_k * sizeof(const std::byte*);
  }

  void release_memory() { outputs_.release(); }

  void reset(const DispatchPlan& plan, Combine combine) {
    combine_ = combine;
    top_k_ = plan.top_k();
    num_expected_ = plan.num_assignments();
    num_returned_ = 0;
    table_ = outputs_.resize<const std::byte*>(plan.num_tokens() * top_k_);
    std::fill(table_.begin(), table_.end(), nullptr);
  }

  /// What came back for these assignments of one destination lies one behind the other: an output each, or a
  /// partial sum for each row.
  void add(std::span<const PlannedAssignment> assignments, const std::byte* first, std::size_t output_bytes) {
    std::uint32_t last_row = std::numeric_limits<std::uint32_t>::max();
    for (const PlannedAssignment& assignment : assignments) {
      const bool is_new = combine_ == Combine::reproducible || assignment.row != last_row;
      last_row = assignment.row;
      if (!is_new) continue;
      table_[assignment.token * top_k_ + assignment.k] = first;
      first += output_bytes;
    }
    num_returned_ += assignments.size();
  }

  /// The sum of all that one node computed for a token: of so many assignments, the first of them the k-th.
  void add_sum(std::uint32_t token, std::uint32_t k, const std::byte* sum, std::size_t num_assignments) {
    table_[token * top_k_ + k] = sum;
    num_returned_ += num_assignments;
  }

  Combine combine() const { return combine_; }
  std::size_t num_returned() const { return num_returned_; }  ///< assignments
  std::size_t num_expected() const { return num_expected_; }

  const std::byte* output(std::size_t token, std::size_t k) const { return table_[token * top_k_ + k]; }

 private:
  Combine combine_ = Combine::reproducible;
  std::size_t top_k_ = 0;
  std::size_t num_expected_ = 0;
  std::size_t num_returned_ = 0;
  GrowingBuffer outputs_;
  std::span<const std::byte*> table_;
};

}  // namespace moewe
