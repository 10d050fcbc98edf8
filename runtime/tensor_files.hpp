#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/safetensors.hpp"
#include "runtime/tensor_index.hpp"

namespace moewe {

/// The tensors of a checkpoint's folder: those of the shards that model.safetensors.index.json lists or,
/// where there is no index, of model.safetensors alone. Where there is an index it is followed, and a
/// model.safetensors that it does not list is not opened. Every tensor is looked up by itself; neighbours may
/// lie in different shards. Every file is opened once.
class TensorFiles {
 public:
  /// Throws InvalidInput when a file is missing or not what it should be, and when index and shards disagree:
  /// each tensor must be in the shard that the index gives it to and in no other, and no shard may hold a
  /// tensor that the index leaves out. A total_size is not looked at: published ones are often wrong.
  explicit TensorFiles(const std::filesystem::path& folder);

  /// Every tensor's file, by name. Names live as long as this does.
  const std::map<std::string_view, const SafetensorsFile*>& tensors() const { return tensors_; }

  /// The file that holds a tensor; null when none does.
  const SafetensorsFile* find(std::string_view name) const;

  /// The file that holds a tensor of this shape. Throws InvalidInput, naming file and tensor, when it is
  /// missing or its shape is another.
  const SafetensorsFile& require(std::string_view name, std::span<const std::size_t> shape) const;

  /// All files that are read, the index among them.
  std::vector<std::filesystem::path> paths() const;

 private:
  void open_shards(const std::filesystem::path& folder);
  void add_tensors(const SafetensorsFile& file);
  void check_shard(const TensorIndex& index, std::size_t shard) const;
  void check_index(const TensorIndex& index) const;

  std::filesystem::path source_;  // the index or the only file
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string_view, const SafetensorsFile*> tensors_;
};

}  // namespace moewe
