#pragma once

#include <cstdint>

namespace moewe {

/// One (token, k) pair on its way to a rank. Travels as it is.
struct PlannedAssignment {
  std::uint32_t row;    ///< which of the rows that go to this rank
  std::uint32_t slot;   ///< position of the expert's slot on that rank
  std::uint32_t token;  ///< on the source
  std::uint32_t k;      ///< which of the token's choices
  float weight;
};

}  // namespace moewe
