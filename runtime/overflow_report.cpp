#include "runtime/overflow_report.hpp"

#include <algorithm>
#include <functional>

namespace moewe {

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
