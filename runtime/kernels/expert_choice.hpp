#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

#include "runtime/kernels/portable.hpp"
#include "runtime/layer_spec.hpp"

namespace moewe {

/// How good a group is whose experts are selected by these values.
MOEWE_PORTABLE inline float score_group(GroupScore rule, const float* group, std::size_t size) {
  float largest = -std::numeric_limits<float>::infinity();
  float second = largest;
  for (std::size_t i = 0; i < size; ++i) {
    second = std::max(second, std::min(largest, group[i]));
    largest = std::max(largest, group[i]);
  }
  return rule == GroupScore::largest ? largest : largest + second;
}

/// Whether fewer than `kept` groups come before this one.
MOEWE_PORTABLE inline bool is_kept(const float* group_scores, std::size_t num_groups, std::size_t group,
                                   std::size_t kept) {
  std::size_t better = 0;
  for (std::size_t other = 0; other < num_groups; ++other) {
    const bool first_of_equals = group_scores[other] == group_scores[group] && other < group;
    if (group_scores[other] > group_scores[group] || first_of_equals) ++better;
  }
  return better < kept;
}

/// An expert and what it is selected by.
struct Candidate {
  float value;
  std::uint32_t expert;
};

/// Comes after every expert, but before none whose value is NaN.
MOEWE_PORTABLE inline Candidate no_candidate() {
  return {-std::numeric_limits<float>::infinity(), 0xFFFFFFFFU};
}

/// Larger values first, equal ones by lower expert; NaN never.
MOEWE_PORTABLE inline bool comes_before(const Candidate& a, const Candidate& b) {
  return a.value > b.value || (a.value == b.value && a.expert < b.expert);
}

}  // namespace moewe
