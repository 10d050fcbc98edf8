#include "runtime/capacity.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr double least_capacity = 4;  // of deepspeed, flaxformer and mesh
constexpr double vmoe_multiple = 4;

struct Sizes {
  double tokens;  ///< exact, since they are far below 2^53
  double top_k;
  double experts;
};

void check(double factor, std::size_t top_k, std::size_t num_experts) {
  if (!std::isfinite(factor) || factor <= 0)
    throw InvalidInput(fmt::format("capacity factor {} must be a finite number above 0", factor));
  if (top_k < 1 || top_k > num_experts) {
    throw InvalidInput(
        fmt::format("capacity: top-{} of {} experts must be from 1 to all experts", top_k, num_experts));
  }
}

double deepspeed_product(double factor, const Sizes& sizes) {
  const auto per_expert = static_cast<float>(sizes.tokens / sizes.experts);
  const double largest = std::numeric_limits<float>::max();
  return per_expert * static_cast<float>(std::min(factor * sizes.top_k, largest));
}

/// Whole, perhaps infinite.
double capacity_by_rule(CapacityRule rule, double factor, const Sizes& sizes) {
  switch (rule) {
    case CapacityRule::megatron:
      return std::ceil(sizes.tokens * sizes.top_k / sizes.experts * factor);
    case CapacityRule::deepspeed:
      return std::max(std::ceil(deepspeed_product(factor, sizes)), least_capacity);
    case CapacityRule::vmoe:
      return std::ceil(std::ceil(sizes.tokens * factor / sizes.experts) / vmoe_multiple) * vmoe_multiple;
    case CapacityRule::flaxformer:
      return std::max(std::nearbyint(factor * sizes.tokens / sizes.experts), least_capacity);
    case CapacityRule::mesh:
      return std::max(std::trunc(sizes.tokens * factor / sizes.experts), least_capacity);
  }
  throw Error(ErrorKind::internal, "broken invariant: a capacity rule is one of those declared");
}

}  // namespace

void check_capacity(const CapacityOptions& options) {
  const bool drops =
      options.policy == OverflowPolicy::drop_last || options.policy == OverflowPolicy::drop_lowest_weight;
  if (!options.is_fair || drops) return;
  throw InvalidInput(
      "fair shares of a capacity need a policy that drops: next_choice takes bids from round to round, and "
      "error keeps nothing");
}

std::size_t expert_capacity(CapacityRule rule, double factor, std::size_t num_tokens, std::size_t top_k,
                            std::size_t num_experts) {
  check(factor, top_k, num_experts);
  if (num_tokens == 0) return 0;
  const Sizes sizes{static_cast<double>(num_tokens), static_cast<double>(top_k),
                    static_cast<double>(num_experts)};
  const double capacity = std::max(capacity_by_rule(rule, factor, sizes), 1.0);
  return capacity >= sizes.tokens ? num_tokens : static_cast<std::size_t>(capacity);
}

}  // namespace moewe
