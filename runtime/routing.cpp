#include "runtime/routing.hpp"

#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {

std::vector<std::int64_t> count_assignments(const Routing& routing, std::size_t num_experts) {
  const std::size_t num_assignments = routing.num_tokens * routing.top_k;
  if (routing.experts.size() != num_assignments || routing.weights.size() != num_assignments) {
    throw InvalidInput(fmt::format(
        "routing: {} tokens with top-{} need {} expert ids and weights, not {} and {}", routing.num_tokens,
        routing.top_k, num_assignments, routing.experts.size(), routing.weights.size()));
  }
  std::vector<std::int64_t> counts(num_experts, 0);
  for (std::size_t i = 0; i < num_assignments; ++i) {
    const ExpertId expert = routing.experts[i];
    if (number(expert) < 0 || index(expert) >= num_experts) {
      throw InvalidInput(fmt::format("routing: token {} chose expert {}, but experts go from 0 to {}",
                                     i / routing.top_k, number(expert), num_experts - 1));
    }
    ++counts[index(expert)];
  }
  return counts;
}

}  // namespace moewe
