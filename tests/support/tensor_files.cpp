#include "tests/support/tensor_files.hpp"

#include <fmt/format.h>
#include <stdexcept>

#include "runtime/safetensors.hpp"

namespace moewe::test {

std::vector<TensorBytes> read_tensors(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  std::vector<std::pair<std::uint64_t, TensorBytes>> in_order;
  for (const auto& [name, tensor] : file.tensors()) {
    std::string bytes(tensor.num_bytes, '\0');
    file.read_bytes(tensor, 0, std::as_writable_bytes(std::span(bytes)));
    in_order.emplace_back(tensor.offset, TensorBytes{name, tensor.dtype, tensor.shape, std::move(bytes)});
  }
  std::stable_sort(in_order.begin(), in_order.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<TensorBytes> tensors;
  for (auto& [offset, tensor] : in_order) tensors.push_back(std::move(tensor));
  return tensors;
}

const TensorBytes& find_tensor(const std::vector<TensorBytes>& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const TensorBytes& tensor) { return tensor.name == name; });
  if (found == tensors.end()) throw std::runtime_error("no tensor " + name);
  return *found;
}

TensorBytes& find_tensor(std::vector<TensorBytes>& tensors, const std::string& name) {
  return const_cast<TensorBytes&>(find_tensor(std::as_const(tensors), name));
}

std::vector<std::int32_t> recorded_choice(const Sample& sample, std::size_t layer, std::size_t num_tokens) {
  const SafetensorsFile file(sample.activations());
  std::vector<std::int32_t> experts(num_tokens * sample.top_k);
  file.read_bytes(*file.find(fmt::format("layers.{}.topk_ids", layer)), 0,
                  std::as_writable_bytes(std::span(experts)));
  return experts;
}

void copy_checkpoint(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::filesystem::create_directories(to);
  for (const char* name : {"config.json", "model.safetensors", "activations.safetensors"}) {
    write_bytes(to / name, read_file(from / name));
  }
}

std::vector<Shard> deal(const std::vector<TensorBytes>& tensors, std::size_t count) {
  std::vector<Shard> shards(count);
  for (std::size_t i = 0; i < count; ++i) {
    shards[i].file = fmt::format("model-{}-of-{}.safetensors", i + 1, count);
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) shards[i % count].tensors.push_back(tensors[i]);
  return shards;
}

nlohmann::json index_of(const std::vector<Shard>& shards) {
  std::size_t num_bytes = 0;
  nlohmann::json index;
  for (const Shard& shard : shards) {
    for (const TensorBytes& tensor : shard.tensors) {
      index["weight_map"][tensor.name] = shard.file;
      num_bytes += tensor.bytes.size();
    }
  }
  index["metadata"]["total_size"] = num_bytes;
  return index;
}

void write_shards(const std::filesystem::path& folder, const std::vector<Shard>& shards) {
  for (const Shard& shard : shards) write_bytes(folder / shard.file, safetensors_bytes(shard.tensors));
  write_bytes(folder / "model.safetensors.index.json", index_of(shards).dump());
}

}  // namespace moewe::test
