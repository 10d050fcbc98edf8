#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "placement/expert_id.hpp"
#include "runtime/dtype.hpp"
#include "runtime/kernels/portable.hpp"

namespace moewe::test {

using Random = std::mt19937;

inline std::size_t draw(Random& random, std::size_t least, std::size_t most) {
  return std::uniform_int_distribution<std::size_t>(least, most)(random);
}

inline std::vector<float> draw_floats(Random& random, std::size_t count, float largest = 4.0F) {
  std::uniform_real_distribution<float> distribution(-largest, largest);
  std::vector<float> values(count);
  for (float& value : values) value = distribution(random);
  return values;
}

template <typename Value>
std::vector<Value> draw_values(Random& random, std::size_t count) {
  std::vector<Value> values;
  for (const float value : draw_floats(random, count)) values.push_back(from_f32<Value>(value));
  return values;
}

/// `top_k` different experts for each token, in any order; of `dropped` in a hundred none.
inline std::vector<ExpertId> draw_experts(Random& random, std::size_t num_tokens, std::size_t top_k,
                                          std::size_t num_experts, std::size_t dropped) {
  std::vector<ExpertId> experts;
  std::vector<std::size_t> all(num_experts);
  for (std::size_t e = 0; e < num_experts; ++e) all[e] = e;
  for (std::size_t token = 0; token < num_tokens; ++token) {
    for (std::size_t k = 0; k < top_k; ++k) {
      std::swap(all[k], all[draw(random, k, num_experts - 1)]);
      experts.push_back(draw(random, 0, 99) < dropped ? ExpertId{-1} : expert_at(all[k]));
    }
  }
  return experts;
}

}  // namespace moewe::test
