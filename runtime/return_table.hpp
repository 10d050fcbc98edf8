#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/dispatch_plan.hpp"

namespace moewe {

/// Where the expert's output for each (token, k) of this rank lies once it has come back; null for what the
/// plan has not sent out.
class ReturnTable {
 public:
  void reset(const DispatchPlan& plan) {
    top_k_ = plan.top_k();
    num_expected_ = plan.num_assignments();
    num_returned_ = 0;
    outputs_.assign(plan.num_tokens() * plan.top_k(), nullptr);
  }

  /// The outputs of these assignments lie one behind the other.
  void add(std::span<const PlannedAssignment> assignments, const std::byte* first, std::size_t output_bytes) {
    for (const PlannedAssignment& assignment : assignments) {
      outputs_[assignment.token * top_k_ + assignment.k] = first;
      first += output_bytes;
    }
    num_returned_ += assignments.size();
  }

  std::size_t num_returned() const { return num_returned_; }
  std::size_t num_expected() const { return num_expected_; }

  const std::byte* output(std::size_t token, std::size_t k) const { return outputs_[token * top_k_ + k]; }

 private:
  std::size_t top_k_ = 0;
  std::size_t num_expected_ = 0;
  std::size_t num_returned_ = 0;
  std::vector<const std::byte*> outputs_;
};

}  // namespace moewe
