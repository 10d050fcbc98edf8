#include "runtime/memory_plan.hpp"

#include <algorithm>

namespace moewe {

void MemoryPlan::cover(const MemoryPlan& other) {
  for (const auto& [name, bytes] : other.bytes_) {
    std::size_t& mine = bytes_[name];
    mine = std::max(mine, bytes);
  }
}

std::size_t MemoryPlan::total() const {
  std::size_t sum = 0;
  for (const auto& [name, bytes] : bytes_) sum = saturated_sum(sum, bytes);
  return sum;
}

}  // namespace moewe
