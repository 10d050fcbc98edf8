#include "placement/co_activation.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <limits>

#include "comm/error.hpp"

namespace moewe {

CoActivation::CoActivation(std::size_t num_experts) : num_experts_(num_experts) {
  if (num_experts > max_experts)
    throw InvalidInput(
        fmt::format("co-activation: {} experts, but it is counted for {} at most", num_experts, max_experts));
  counts_.assign(num_experts * num_experts, 0);
}

void CoActivation::add(std::span<const ExpertId> ids, std::size_t top_k) {
  if (top_k == 0 || ids.size() % top_k != 0)
    throw InvalidInput(fmt::format("co-activation: {} choices are no tokens of {} each", ids.size(), top_k));
  const auto is_known = [&](ExpertId id) { return number(id) >= 0 && index(id) < num_experts_; };
  if (!std::all_of(ids.begin(), ids.end(), is_known))
    throw InvalidInput(fmt::format("co-activation: a choice is not one of {} experts", num_experts_));
  for (std::size_t first = 0; first < ids.size(); first += top_k) {
    for (std::size_t i = first; i < first + top_k; ++i)
      for (std::size_t j = first; j < i; ++j) add_pair(index(ids[i]), index(ids[j]));
  }
}

void CoActivation::add_pair(std::size_t a, std::size_t b) {
  std::uint32_t& count = counts_[a * num_experts_ + b];
  if (a == b || count == std::numeric_limits<std::uint32_t>::max()) return;
  counts_[b * num_experts_ + a] = ++count;
}

}  // namespace moewe
