#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "runtime/layer_spec.hpp"
#include "runtime/routing.hpp"

namespace moewe::test {

/// A layer, and tokens that choose experts in a way that has broken exchanges before.
struct RoutingCase {
  std::string name;
  LayerSpec spec;
  std::size_t num_tokens;  ///< over all ranks

  /// The expert of a global token's k-th choice, given all experts in an order of that token's own.
  std::function<ExpertId(std::size_t token, std::size_t k, const std::vector<ExpertId>& shuffled)> choose;
};

inline std::vector<RoutingCase> routing_cases() {
  const auto spec = [](std::size_t hidden, std::size_t experts, std::size_t top_k) {
    return LayerSpec{{hidden, 24}, experts, {top_k, true}};
  };
  const auto any = [](std::size_t, std::size_t k, const auto& shuffled) { return shuffled[k]; };
  const auto first_experts = [](std::size_t, std::size_t k, const auto&) { return expert_at(k); };
  const auto one_hot = [](std::size_t, std::size_t k, const auto& shuffled) {
    return k == 0 ? ExpertId{3} : shuffled[k] == ExpertId{3} ? shuffled[0] : shuffled[k];
  };
  return {
      {"random", spec(32, 16, 4), 203, any},
      {"odd hidden size", spec(37, 7, 3), 61, any},
      {"fewer experts than ranks", spec(16, 3, 2), 50, any},
      {"one expert", spec(16, 1, 1), 20, any},
      {"every token to every expert", spec(16, 5, 5), 33, any},
      {"one hot expert", spec(16, 8, 2), 100, one_hot},
      {"all to the first experts", spec(16, 16, 2), 100, first_experts},
      {"the same expert twice", spec(16, 8, 3), 40,
       [](std::size_t, std::size_t k, const auto& s) { return s[k / 2]; }},
      {"no token", spec(16, 8, 2), 0, any},
      {"one token", spec(16, 8, 2), 1, any},
      {"fewer tokens than ranks", spec(16, 8, 2), 3, any},
  };
}

/// A routing with memory of its own.
struct OwnedRouting {
  std::size_t num_tokens = 0;
  std::size_t top_k = 0;
  std::vector<ExpertId> experts;
  std::vector<float> weights;

  operator Routing() const {  // NOLINT(google-explicit-constructor): a view of it
    return {num_tokens, top_k, experts, weights, {}};
  }
};

/// The routing of global tokens [first, first + count) of a case.
inline OwnedRouting make_routing(const RoutingCase& c, std::size_t first, std::size_t count) {
  OwnedRouting routing{count, c.spec.router.top_k, {}, {}};
  for (std::size_t token = first; token < first + count; ++token) {
    std::mt19937_64 generator(token + 1);
    std::vector<ExpertId> shuffled;
    for (std::size_t e = 0; e < c.spec.num_experts; ++e) shuffled.push_back(expert_at(e));
    std::shuffle(shuffled.begin(), shuffled.end(), generator);
    std::uniform_real_distribution<float> weight(0.1F, 1.0F);
    for (std::size_t k = 0; k < routing.top_k; ++k) {
      routing.experts.push_back(c.choose(token, k, shuffled));
      routing.weights.push_back(weight(generator));
    }
  }
  return routing;
}

}  // namespace moewe::test
