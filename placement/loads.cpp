#include "placement/loads.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "comm/error.hpp"
#include "placement/split.hpp"

namespace moewe {

std::int64_t checked_total(std::span<const std::int64_t> loads, std::size_t num_experts, const char* what) {
  if (loads.size() != num_experts) {
    throw InvalidInput(
        fmt::format("{}: loads of {} experts for {} experts", what, loads.size(), num_experts));
  }
  std::int64_t total = 0;
  for (std::size_t expert = 0; expert < loads.size(); ++expert) {
    if (loads[expert] < 0) {
      throw InvalidInput(fmt::format("{}: the load of expert {} is {}, but none may be negative", what,
                                     expert, loads[expert]));
    }
    if (loads[expert] > max_total_load - total) {
      throw InvalidInput(fmt::format("{}: the loads sum to more than {}", what, max_total_load));
    }
    total += loads[expert];
  }
  return total;
}

std::int64_t largest_allowed(std::int64_t total, std::int64_t target, std::size_t num_ranks) {
  const auto ranks = static_cast<std::int64_t>(num_ranks);
  const std::int64_t whole = total / ranks;  // total * target may not fit
  const std::int64_t rest = total % ranks;
  const std::int64_t allowed = (whole / 1'000'000) * target + (whole % 1'000'000) * target / 1'000'000 +
                               rest * target / 1'000'000 / ranks;
  return std::max(allowed, ceil_div(total, ranks));
}

}  // namespace moewe
