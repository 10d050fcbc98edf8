#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>

#include "runtime/layer_spec.hpp"

namespace moewe {

/// A key of config.json and what holds where it is missing; without that a missing key is an error. Without a
/// key, `otherwise` holds for the whole family.
template <typename T>
struct Setting {
  const char* key = nullptr;
  std::optional<T> otherwise = std::nullopt;
};

/// A key that, where it is there, must have this value (JSON): nothing else is known.
struct FixedKey {
  const char* key = nullptr;
  const char* value = nullptr;
};

/// What topk_method and scoring_func mean together.
struct Selection {
  const char* topk_method;
  const char* scoring_func;
  Score score;
  bool has_bias;
  bool has_groups;
  GroupScore group_score;
};

/// As in TensorNames.
struct TensorLayout {
  const char* router;
  const char* selection_bias;
  const char* gate;
  const char* up;
  const char* down;
  const char* shared_gate;
  const char* shared_up;
  const char* shared_down;
};

/// All in which one family of models differs from another.
struct ModelFamily {
  const char* model_type;
  TensorLayout tensors;
  std::array<const Selection*, 2> selections;  ///< the first holds where the file does not say

  const char* intermediate = "moe_intermediate_size";
  std::array<const char*, 2> num_experts{"n_routed_experts",
                                         "num_local_experts"};  ///< the first that is there
  Setting<std::size_t> num_shared{.otherwise = 0};
  Setting<std::size_t> num_groups{.otherwise = 1};
  Setting<std::size_t> kept_groups{.otherwise = 1};
  Setting<bool> renormalise;
  Setting<double> scale{.otherwise = 1.0};

  /// Layer N is an MoE layer if N >= first, (N + offset) % period == 0, and N is not listed as dense.
  Setting<std::size_t> first_moe_layer{.otherwise = 0};
  Setting<std::size_t> period{.otherwise = 1};
  std::size_t layer_offset = 0;
  const char* dense_layers = nullptr;

  std::array<FixedKey, 2> fixed{};
};

inline constexpr const char* hidden_key = "hidden_size";
inline constexpr const char* num_layers_key = "num_hidden_layers";
inline constexpr const char* top_k_key = "num_experts_per_tok";

/// The table of runtime/model_families.cpp; a new family is a new row.
std::span<const ModelFamily> model_families();

}  // namespace moewe
