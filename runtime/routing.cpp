#include "runtime/routing.hpp"

#include <bit>
#include <cmath>
#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {

std::uint32_t order_of_weight(float weight) {
  constexpr std::uint32_t sign = 0x80000000U;
  const auto bits = std::bit_cast<std::uint32_t>(weight + 0.0F);
  return (bits & sign) != 0 ? ~bits : bits | sign;
}

void RoutingTable::resize(std::size_t num_tokens, std::size_t top_k, std::size_t num_experts) {
  num_tokens_ = num_tokens;
  top_k_ = top_k;
  num_experts_ = num_experts;
  experts_.resize<ExpertId>(num_tokens * top_k);
  weights_.resize<float>(num_tokens * top_k);
  selection_.resize<float>(num_tokens * num_experts);
}

Routing Routing::tokens(std::size_t first, std::size_t count) const {
  const std::size_t num_experts = num_tokens == 0 ? 0 : selection.size() / num_tokens;
  return {count, top_k, experts.subspan(first * top_k, count * top_k),
          weights.subspan(first * top_k, count * top_k),
          selection.subspan(first * num_experts, count * num_experts)};
}

std::vector<std::int64_t> count_assignments(const Routing& routing, std::size_t num_experts,
                                            std::size_t room) {
  const std::size_t num_assignments = routing.num_tokens * routing.top_k;
  if (routing.experts.size() != num_assignments || routing.weights.size() != num_assignments) {
    throw InvalidInput(fmt::format(
        "routing: {} tokens with top-{} need {} expert ids and weights, not {} and {}", routing.num_tokens,
        routing.top_k, num_assignments, routing.experts.size(), routing.weights.size()));
  }
  std::vector<std::int64_t> counts;
  counts.reserve(num_experts + room);
  counts.resize(num_experts, 0);
  for (std::size_t i = 0; i < num_assignments; ++i) {
    const ExpertId expert = routing.experts[i];
    if (number(expert) < 0 || index(expert) >= num_experts) {
      throw InvalidInput(fmt::format("routing: token {} chose expert {}, but experts go from 0 to {}",
                                     i / routing.top_k, number(expert), num_experts - 1));
    }
    if (!std::isfinite(routing.weights[i])) {
      throw InvalidInput(fmt::format("routing: token {} gives expert {} the weight {}", i / routing.top_k,
                                     number(expert), routing.weights[i]));
    }
    ++counts[index(expert)];
  }
  return counts;
}

}  // namespace moewe
