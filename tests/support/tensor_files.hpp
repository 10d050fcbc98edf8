#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/program.hpp"
#include "tests/support/tensor_bytes.hpp"

namespace moewe::test {

/// All tensors of a safetensors file, in the order of its bytes.
std::vector<TensorBytes> read_tensors(const std::filesystem::path& path);

/// The one of this name; throws where there is none.
TensorBytes& find_tensor(std::vector<TensorBytes>& tensors, const std::string& name);
const TensorBytes& find_tensor(const std::vector<TensorBytes>& tensors, const std::string& name);

/// Experts that a sample's recorded tokens chose, [num_tokens, top_k].
std::vector<std::int32_t> recorded_choice(const Sample& sample, std::size_t layer, std::size_t num_tokens);

/// The values of a tensor of this type.
template <typename T>
std::vector<T> values_of(const TensorBytes& tensor) {
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  std::memcpy(values.data(), tensor.bytes.data(), values.size() * sizeof(T));
  return values;
}

/// Writes a file again with its tensors as `edit` leaves them.
template <typename Edit>
void edit_tensors(const std::filesystem::path& path, Edit&& edit) {
  std::vector<TensorBytes> tensors = read_tensors(path);
  edit(tensors);
  write_bytes(path, safetensors_bytes(tensors));
}

/// Config, tensors and activations into a folder that need not exist, all writable.
void copy_checkpoint(const std::filesystem::path& from, const std::filesystem::path& to);

/// A shard of a checkpoint: its file's name and its tensors.
struct Shard {
  std::string file;
  std::vector<TensorBytes> tensors;
};

/// Deals tensors to `count` shards, one after the other, so that an expert's lie in several.
std::vector<Shard> deal(const std::vector<TensorBytes>& tensors, std::size_t count);

/// Shards and the index that goes with them.
nlohmann::json index_of(const std::vector<Shard>& shards);
void write_shards(const std::filesystem::path& folder, const std::vector<Shard>& shards);

}  // namespace moewe::test
