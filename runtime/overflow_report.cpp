#include <algorithm>
#include <functional>

#include "comm/error.hpp"
#include "runtime/overflow.hpp"

namespace moewe {

void check_capacity(const CapacityOptions& options) {
  if (!options.is_fair || options.policy != OverflowPolicy::next_choice) return;
  throw InvalidInput(
      "fair shares of a capacity cannot be kept by next_choice, whose bids go on from round to round");
}

void OverflowReport::add(const OverflowReport& other) {
  capacity = other.capacity;
  for (const auto counts :
       {&OverflowReport::assigned, &OverflowReport::kept, &OverflowReport::over_capacity,
        &OverflowReport::no_room, &OverflowReport::rerouted_from, &OverflowReport::rerouted_to}) {
    std::vector<std::int64_t>& mine = this->*counts;
    const std::vector<std::int64_t>& others = other.*counts;
    mine.resize(std::max(mine.size(), others.size()), 0);
    std::transform(others.begin(), others.end(), mine.begin(), mine.begin(), std::plus<>());
  }
}

}  // namespace moewe
