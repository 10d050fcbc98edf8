#include "runtime/tensor_files.hpp"

#include <fmt/format.h>

#include "comm/error.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

constexpr std::size_t max_index_bytes = 256 << 20;

[[noreturn]] void fail(const std::filesystem::path& where, const std::string& what) {
  throw InvalidInput(fmt::format("{}: {}", where.string(), what));
}

bool is_there(const std::filesystem::path& path) {
  std::error_code unknown;  // what cannot even be looked at is refused, with its reason, when it is opened
  return std::filesystem::symlink_status(path, unknown).type() != std::filesystem::file_type::not_found;
}

}  // namespace

TensorFiles::TensorFiles(const std::filesystem::path& folder)
    : source_(folder / "model.safetensors.index.json") {
  if (is_there(source_)) {
    open_shards(folder);
    return;
  }
  source_ = folder / "model.safetensors";
  files_.push_back(std::make_unique<SafetensorsFile>(source_));
  add_tensors(*files_.front());
}

void TensorFiles::open_shards(const std::filesystem::path& folder) {
  const TensorIndex index = parse_tensor_index(read_text(source_, max_index_bytes), source_.string());
  for (const std::string& shard : index.shards) {
    files_.push_back(std::make_unique<SafetensorsFile>(folder / shard));
  }
  for (std::size_t shard = 0; shard < files_.size(); ++shard) {
    add_tensors(*files_[shard]);
    check_shard(index, shard);
  }
  check_index(index);
}

void TensorFiles::add_tensors(const SafetensorsFile& file) {
  for (const auto& [name, tensor] : file.tensors()) {
    const auto [known, is_new] = tensors_.emplace(name, &file);
    if (!is_new) {
      fail(source_, fmt::format("tensor '{}' is in {} and again in {}", printable(name),
                                known->second->path(), file.path()));
    }
  }
}

void TensorFiles::check_shard(const TensorIndex& index, std::size_t shard) const {
  for (const auto& [name, tensor] : files_[shard]->tensors()) {
    const auto entry = index.shard_of.find(name);
    if (entry == index.shard_of.end()) {
      fail(source_, fmt::format("tensor '{}' is in {}, but weight_map leaves it out", printable(name),
                                files_[shard]->path()));
    }
    if (entry->second != shard && files_[entry->second]->find(name) == nullptr) {
      fail(source_, fmt::format("tensor '{}' is in {}, but weight_map gives it to {}", printable(name),
                                files_[shard]->path(), index.shards[entry->second]));
    }
  }
}

void TensorFiles::check_index(const TensorIndex& index) const {
  for (const auto& [name, shard] : index.shard_of) {
    if (files_[shard]->find(name) == nullptr) {
      fail(source_, fmt::format("weight_map gives tensor '{}' to {}, which does not hold it", printable(name),
                                index.shards[shard]));
    }
  }
}

const SafetensorsFile* TensorFiles::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second;
}

const SafetensorsFile& TensorFiles::require(std::string_view name, std::span<const std::size_t> shape) const {
  const SafetensorsFile* file = find(name);
  if (file == nullptr) fail(source_, fmt::format("tensor '{}' is missing", printable(name)));
  file->require(name, shape);
  return *file;
}

std::vector<std::filesystem::path> TensorFiles::paths() const {
  std::vector<std::filesystem::path> paths;
  for (const auto& file : files_) paths.emplace_back(file->path());
  if (paths.empty() || paths.front() != source_) paths.push_back(source_);
  return paths;
}

}  // namespace moewe
