#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "placement/arrangement.hpp"

namespace moewe {

/// Where every expert has one slot: the most loaded rank exchanges one expert for one, or where that helps no
/// more two for two, with the rank with which the larger load of both falls most. Ends when the largest load
/// is at most `goal`, or when nothing helps. Returns the largest load.
std::int64_t exchange_singles(Arrangement& arrangement, std::span<const std::int64_t> loads,
                              std::int64_t goal, std::size_t most_exchanges);

}  // namespace moewe
