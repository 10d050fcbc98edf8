#pragma once

#include <string>
#include <vector>

#include "runtime/model_config.hpp"

namespace moewe {

/// A published model by name, such as "mixtral-8x7b": sizes and rules, but no tensor names. Throws
/// InvalidInput, listing the names, for another.
ModelConfig find_preset(const std::string& name);

/// Of all presets, in the order in which they are listed.
std::vector<std::string> preset_names();

}  // namespace moewe
