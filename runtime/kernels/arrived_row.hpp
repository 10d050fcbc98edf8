#pragma once

#include "runtime/kernels/grouped_row.hpp"

namespace moewe {

/// A row that arrived: the `row`-th of a source; `first` is the first of its assignments there, which are one
/// behind the other.
struct ArrivedRow {
  NextSource source;
  std::uint32_t row;
  std::uint32_t first;
};

MOEWE_PORTABLE inline bool is_for(const ArrivedRow& arrived, std::uint32_t assignment) {
  const ArrivedFrom& from = arrived.source.from;
  return assignment < num_assignments_of(from) && assignments_of(from)[assignment].row == arrived.row;
}

/// Plans name rows ascending.
MOEWE_PORTABLE inline std::uint32_t first_assignment_of(const ArrivedFrom& source, std::uint32_t row) {
  std::uint32_t low = 0;
  std::uint32_t high = num_assignments_of(source);
  while (low < high) {
    const std::uint32_t middle = (low + high) / 2;
    if (assignments_of(source)[middle].row < row) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/// The i-th of all rows that arrived, source by source; false if there are no more than i.
MOEWE_PORTABLE inline bool find_arrived_row(const ArrivedFrom* sources, std::uint32_t num_sources,
                                            std::uint32_t i, ArrivedRow& found) {
  std::uint32_t before = 0;
  for (std::uint32_t s = 0; s < num_sources; ++s) {
    const ArrivedPlan& plan = *sources[s].plan;
    if (i < plan.num_rows) {
      found = {{sources[s], before}, i, first_assignment_of(sources[s], i)};
      return true;
    }
    i -= plan.num_rows;
    before += num_assignments_of(sources[s]);
  }
  return false;
}

}  // namespace moewe
