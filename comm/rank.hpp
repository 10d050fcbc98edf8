#pragma once

#include <cstddef>
#include <cstdint>

namespace moewe {

/// A process, or a thread that acts as one, numbered from 0 within its communicator.
enum class Rank : std::int32_t {};

constexpr int number(Rank rank) { return static_cast<int>(rank); }

/// For arrays that hold one element per rank.
constexpr std::size_t index(Rank rank) { return static_cast<std::size_t>(rank); }

constexpr Rank rank_at(std::size_t index) { return static_cast<Rank>(index); }

}  // namespace moewe
