// model.safetensors.index.json.

#include "runtime/tensor_index.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace moewe;
  return fuzz::run(data, size, [](std::span<const std::byte> text) {
    const TensorIndex index = parse_tensor_index(fuzz::as_text(text), "INPUT");
    for (const std::string& shard : index.shards) {
      fuzz::require(shard.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos,
                    "shards lie in the folder");
      fuzz::require(shard.find("..") == std::string::npos, "shards do not lead up");
      fuzz::require(shard.size() > 12 && shard.ends_with(".safetensors"), "shards are safetensors files");
    }
    for (const auto& [tensor, shard] : index.shard_of) {
      fuzz::require(shard < index.shards.size(), "every tensor has a shard");
    }
  });
}
