#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "comm/buffer.hpp"
#include "placement/expert_id.hpp"
#include "runtime/memory_plan.hpp"

namespace moewe {

/// Stands in the place of a choice that was dropped; its weight is 0.
inline constexpr ExpertId no_expert{-1};

/// Which experts a rank's tokens chose, and with which weight: a view, row-major.
struct Routing {
  std::size_t num_tokens = 0;
  std::size_t top_k = 0;
  std::span<const ExpertId> experts;  ///< [num_tokens, top_k], best first
  std::span<const float> weights;     ///< [num_tokens, top_k]

  /// What experts are selected by, [num_tokens, num_experts]; -infinity for experts that cannot be selected.
  /// Empty when the choice came from a caller who did not tell.
  std::span<const float> selection;

  /// The part of `count` tokens from `first` on.
  Routing tokens(std::size_t first, std::size_t count) const;
};

/// Orders weights as unsigned numbers, whatever they are: a larger weight has a larger one, both zeros the
/// same, and NaN is beyond all.
std::uint32_t order_of_weight(float weight);

/// Owns a routing whose memory is counted.
class RoutingTable {
 public:
  /// Its memory is counted under `name`. Tables that are there at the same time have names of their own, so
  /// that the plans of steps that use one or the other can be covered name by name.
  explicit RoutingTable(MemoryMeter& meter, std::string_view name = "routing")
      : choice_name_(name),
        scores_name_(choice_name_ + " scores"),
        experts_(meter, choice_name_),
        weights_(meter, choice_name_),
        selection_(meter, scores_name_) {}

  /// Adds the memory that resize() with these arguments takes.
  void plan_memory(std::size_t num_tokens, std::size_t top_k, std::size_t num_experts,
                   MemoryPlan& memory) const {
    memory.add(choice_name_, num_tokens * top_k * (sizeof(ExpertId) + sizeof(float)));
    memory.add(scores_name_, num_tokens * num_experts * sizeof(float));
  }

  /// Makes room; the contents are undefined. `num_experts` is 0 where no scores are kept.
  void resize(std::size_t num_tokens, std::size_t top_k, std::size_t num_experts);

  void release_memory() {
    experts_.release();
    weights_.release();
    selection_.release();
  }

  std::size_t num_tokens() const { return num_tokens_; }
  std::size_t top_k() const { return top_k_; }
  std::span<ExpertId> experts() { return experts_.as<ExpertId>(num_tokens_ * top_k_); }
  std::span<float> weights() { return weights_.as<float>(num_tokens_ * top_k_); }
  std::span<float> selection() { return selection_.as<float>(num_tokens_ * num_experts_); }

  Routing view() const {
    return {num_tokens_, top_k_, experts_.as<ExpertId>(num_tokens_ * top_k_),
            weights_.as<float>(num_tokens_ * top_k_), selection_.as<float>(num_tokens_ * num_experts_)};
  }

 private:
  std::string choice_name_;
  std::string scores_name_;
  std::size_t num_tokens_ = 0;
  std::size_t top_k_ = 0;
  std::size_t num_experts_ = 0;
  GrowingBuffer experts_;
  GrowingBuffer weights_;
  GrowingBuffer selection_;
};

/// Assignments per expert. Throws InvalidInput, naming the token, when sizes do not fit together, an id is
/// not between 0 and num_experts - 1, or a weight is not finite. The result can take `room` values more
/// without moving.
std::vector<std::int64_t> count_assignments(const Routing& routing, std::size_t num_experts,
                                            std::size_t room = 0);

}  // namespace moewe
