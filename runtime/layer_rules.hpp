#pragma once

#include <cstddef>
#include <fmt/format.h>
#include <string>
#include <utility>

#include "comm/error.hpp"
#include "runtime/layer_spec.hpp"

namespace moewe {

inline constexpr std::size_t max_dimension = 1 << 20;
inline constexpr std::size_t max_experts = 1 << 16;
inline constexpr std::size_t max_layers = 10'000;
inline constexpr float max_scale = 1e6F;

struct Range {
  std::size_t low;
  std::size_t high;
};

/// "where: what", with `format` and its arguments for what.
template <typename... Args>
[[noreturn]] void refuse(const std::string& where, fmt::format_string<Args...> format, Args&&... args) {
  throw InvalidInput(where + ": " + fmt::format(format, std::forward<Args>(args)...));
}

/// What messages call the parts of a LayerSpec: the file's own keys, where they come from a file.
struct SizeWords {
  const char* hidden = "the hidden size";
  const char* intermediate = "the intermediate size";
  const char* num_experts = "the number of experts";
  const char* top_k = "top-k";
  const char* num_groups = "the number of groups";
  const char* kept_groups = "the number of kept groups";
  const char* shared = "the shared experts' intermediate size";
  const char* scale = "the scale";
};

/// check_layer_spec of runtime/model_config.hpp with other words.
void check_layer_spec(const LayerSpec& spec, const std::string& where, const SizeWords& words);

}  // namespace moewe
