#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "placement/expert_id.hpp"

namespace moewe {

/// How often the same token chose two experts, for each two of one layer. Symmetric; an expert beside itself
/// counts nothing. Counts stop at 2^32 - 1.
class CoActivation {
 public:
  static constexpr std::size_t max_experts = 4096;  ///< it takes 4 bytes for each two of them

  /// Throws InvalidInput for more than max_experts.
  explicit CoActivation(std::size_t num_experts);

  /// Choices of tokens, [tokens][top_k]. Throws InvalidInput, and adds nothing, for an expert that there is
  /// not, and where these are no whole tokens.
  void add(std::span<const ExpertId> ids, std::size_t top_k);

  std::size_t num_experts() const { return num_experts_; }

  std::int64_t of(std::size_t a, std::size_t b) const { return counts_[a * num_experts_ + b]; }

 private:
  void add_pair(std::size_t a, std::size_t b);

  std::size_t num_experts_;
  std::vector<std::uint32_t> counts_;  // [num_experts][num_experts]
};

}  // namespace moewe
