#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "launch/token_range.hpp"
#include "placement/expert_id.hpp"

namespace moewe {

/// How popular experts are in a routing that a study forces in the place of a router's.
enum class Popularity {
  uniform,    ///< all alike
  lognormal,  ///< expert e in proportion to exp(parameter z), z standard normal
  zipf,       ///< in proportion to 1 / rank^parameter; ranks are a random permutation of the experts
  hot,        ///< a random set of `parameter` experts, alike, and no other
};

struct ForcedRoutingSpec {
  Popularity popularity = Popularity::uniform;
  double parameter = 0;  ///< 0 for uniform

  bool operator==(const ForcedRoutingSpec&) const = default;
};

/// "uniform", "lognormal:SIGMA", "zipf:S" with numbers above 0 and at most 10, "hot:K" with a whole number.
/// Throws InvalidInput with one sentence for anything else.
ForcedRoutingSpec parse_forced_routing(const std::string& text);

/// As it would be typed.
std::string describe(const ForcedRoutingSpec& spec);

/// Choices that depend on nothing but the seed, the layer, the step and the token's own number, so that they
/// are the same on any number of ranks. How popular an expert is depends on the seed and the layer alone.
///
/// A token draws its experts one after the other without replacement, each with a probability in proportion
/// to its popularity among those that are left.
class ForcedRouting {
 public:
  /// Throws InvalidInput unless 1 <= top_k <= num_experts and the parameter can be used: for hot, it is from
  /// top_k to num_experts.
  ForcedRouting(const ForcedRoutingSpec& spec, std::uint64_t seed, std::size_t num_experts,
                std::size_t top_k);

  /// Both are [range.count, top_k], row-major; a token's experts are distinct, in the order in which they
  /// were drawn, and their weights 1 / top_k. Local.
  void read(std::size_t layer, std::size_t step, TokenRange range, std::span<ExpertId> experts,
            std::span<float> weights) const;

  /// The probability of each expert to be a token's first, [num_experts]; its sum is 1.
  std::vector<double> popularity(std::size_t layer) const;

 private:
  ForcedRoutingSpec spec_;
  std::uint64_t seed_;
  std::size_t num_experts_;
  std::size_t top_k_;
};

}  // namespace moewe
