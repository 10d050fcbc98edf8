#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "launch/options.hpp"
#include "launch/token_range.hpp"
#include "runtime/model_config.hpp"

namespace moewe {

/// Choices of experts that stand in the place of a router's.
class RoutingSource {
 public:
  virtual ~RoutingSource() = default;

  /// `ids` and `weights` are [range.count, top_k], row-major. `num_tokens` is that of every step, over all
  /// ranks. Local. May throw InvalidInput where choices come from a file.
  virtual void read(std::size_t layer, std::size_t step, std::size_t num_tokens, TokenRange range,
                    std::span<ExpertId> ids, std::span<float> weights) const = 0;

  /// Of its own accord, where it has one.
  virtual std::optional<std::size_t> tokens_per_step() const { return std::nullopt; }

  /// What must not be overwritten.
  virtual std::vector<std::filesystem::path> files_read() const { return {}; }
};

/// Local. Null where the router chooses. Throws InvalidInput where choice and model do not fit together, or a
/// trace is not what it should be in one of `layers`.
std::unique_ptr<RoutingSource> open_routing(const RunOptions& options, const ModelConfig& model,
                                            const std::vector<std::size_t>& layers);

}  // namespace moewe
