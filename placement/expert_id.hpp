#pragma once

#include <cstddef>
#include <cstdint>

namespace moewe {

/// A logical expert: the model's number for it within one layer.
enum class ExpertId : std::int32_t {};

constexpr int number(ExpertId expert) { return static_cast<int>(expert); }
constexpr std::size_t index(ExpertId expert) { return static_cast<std::size_t>(expert); }
constexpr ExpertId expert_at(std::size_t index) { return static_cast<ExpertId>(index); }

}  // namespace moewe
