#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launch/trace.hpp"
#include "placement/co_activation.hpp"
#include "placement/expert_id.hpp"

namespace moewe {

/// What a layer's tokens chose: `experts` are [tokens][top_k].
struct TokenChoices {
  std::vector<ExpertId> experts;
  std::size_t top_k = 0;
};

/// What tokens chose, for `moewe place`: those to place for, and those to judge by.
class PlaceTokens {
 public:
  /// `score` may be none, or have counts only: then the same tokens are judged by. Throws InvalidInput where
  /// `loads` is no trace.
  PlaceTokens(const std::filesystem::path& loads, const std::optional<std::filesystem::path>& score,
              std::size_t num_experts);

  /// Of the tokens to place for. Reads all of a layer, as judged() does, and throws as Trace::read().
  CoActivation co_activation(std::size_t layer) const;

  const std::string& judged_file() const { return (judged_ ? *judged_ : planned_).path(); }

  /// Of the tokens to judge by.
  TokenChoices judged(std::size_t layer) const;

 private:
  Trace planned_;
  std::optional<Trace> judged_;
  std::size_t num_experts_;
};

}  // namespace moewe
