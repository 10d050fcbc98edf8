#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moewe {

/// What model.safetensors.index.json says: which shard holds which tensor.
struct TensorIndex {
  std::vector<std::string> shards;                           ///< file names, in the order of the index
  std::map<std::string, std::size_t, std::less<>> shard_of;  ///< by tensor, an index into `shards`
};

/// Checks and reads an index. File names are plain names that end in .safetensors, so that no index leads out
/// of its folder; at most 2^22 tensors and 4096 shards. `where` begins every message. Throws InvalidInput.
TensorIndex parse_tensor_index(std::string_view text, const std::string& where);

}  // namespace moewe
