#include "runtime/checkpoint.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <limits>

#include "comm/error.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_bytes.hpp"

namespace moewe {
namespace {

using test::bf16_bytes_of;
using test::bytes_of;
using test::TensorBytes;
using test::write_bytes;

constexpr std::size_t hidden = 3;
constexpr std::size_t intermediate = 2;
constexpr std::size_t shared_intermediate = 4;
constexpr std::size_t num_experts = 5;

/// Three layers, of which the first is dense.
ModelConfig small_config() {
  ModelConfig config;
  config.name = "small";
  config.num_layers = 3;
  config.moe_layers = {1, 2};
  config.layer.expert = {hidden, intermediate, Activation::silu, true};
  config.layer.num_experts = num_experts;
  config.layer.router.top_k = 2;
  config.layer.router.has_selection_bias = true;
  config.layer.shared_intermediate = shared_intermediate;
  config.names = {"{layer}.router",      "{layer}.bias",          "{layer}.{expert}.gate",
                  "{layer}.{expert}.up", "{layer}.{expert}.down", "{layer}.shared.gate",
                  "{layer}.shared.up",   "{layer}.shared.down"};
  return config;
}

/// Values that tell every tensor and element apart; bf16 holds them exactly.
std::vector<float> values_of(std::size_t tensor, std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = static_cast<float>(tensor % 7 + 1) * (i % 2 == 0 ? 0.5F : -2.0F) + static_cast<float>(i % 5);
  }
  return values;
}

/// All tensors of layers 1 and 2, f32 and bf16 in turn.
std::vector<TensorBytes> small_tensors() {
  std::vector<TensorBytes> tensors;
  const auto add = [&](const std::string& name, std::vector<std::size_t> shape) {
    std::size_t count = 1;
    for (const std::size_t length : shape) count *= length;
    const std::vector<float> values = values_of(tensors.size(), count);
    const bool wide = tensors.size() % 2 == 0;
    tensors.push_back(
        {name, wide ? "F32" : "BF16", std::move(shape), wide ? bytes_of(values) : bf16_bytes_of(values)});
  };
  for (const std::string layer : {"1.", "2."}) {
    add(layer + "router", {num_experts, hidden});
    add(layer + "bias", {num_experts});
    for (std::size_t e = 0; e < num_experts; ++e) {
      const std::string expert = layer + std::to_string(e);
      add(expert + ".gate", {intermediate, hidden});
      add(expert + ".up", {intermediate, hidden});
      add(expert + ".down", {hidden, intermediate});
    }
    add(layer + "shared.gate", {shared_intermediate, hidden});
    add(layer + "shared.up", {shared_intermediate, hidden});
    add(layer + "shared.down", {hidden, shared_intermediate});
  }
  return tensors;
}

std::size_t place_of(const std::vector<TensorBytes>& tensors, const std::string& name) {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].name == name) return i;
  }
  ADD_FAILURE() << name;
  return 0;
}

std::size_t bytes_in(const std::vector<TensorBytes>& tensors) {
  std::size_t bytes = 0;
  for (const TensorBytes& tensor : tensors) bytes += tensor.bytes.size();
  return bytes;
}

/// A checkpoint's folder in the making: tensors by shard, and the index that belongs to them.
struct Shards {
  std::vector<std::vector<TensorBytes>> files;
  std::vector<std::pair<std::string, std::string>> weight_map;

  explicit Shards(std::size_t num_files) : files(num_files) {
    const std::vector<TensorBytes> tensors = small_tensors();
    for (std::size_t i = 0; i < tensors.size(); ++i) {  // neighbours in different files
      files[i % num_files].push_back(tensors[i]);
      weight_map.emplace_back(tensors[i].name, file_name(i % num_files));
    }
  }

  static std::string file_name(std::size_t i) { return "model-" + std::to_string(i) + ".safetensors"; }

  std::string index(const std::string& metadata = R"({"total_size":0})") const {
    std::string text = R"({"metadata":)" + metadata + R"(,"weight_map":{)";
    const char* separator = "";
    for (const auto& [tensor, file] : weight_map) {
      text += fmt::format("{}\"{}\":\"{}\"", std::exchange(separator, ","), tensor, file);
    }
    return text + "}}";
  }

  std::string right_metadata() const {
    std::size_t bytes = 0;
    for (const auto& file : files) bytes += bytes_in(file);
    return R"({"total_size":)" + std::to_string(bytes) + "}";
  }

  void write(const test::TemporaryFolder& folder, const std::string& index) const {
    for (std::size_t i = 0; i < files.size(); ++i) {
      write_bytes(folder / file_name(i), test::safetensors_bytes(files[i]));
    }
    write_bytes(folder / "model.safetensors.index.json", index);
  }
};

std::string refusal(const test::TemporaryFolder& folder) {
  return test::message_of<InvalidInput>([&] { const TensorFiles files(folder.path()); });
}

std::string refusal(const Shards& shards, const std::string& index) {
  const test::TemporaryFolder folder;
  shards.write(folder, index);
  std::string message = refusal(folder);
  for (std::size_t at; (at = message.find(folder.path().string() + "/")) != std::string::npos;) {
    message.erase(at, folder.path().string().size() + 1);
  }
  return message;
}

void expect_all_weights(const Checkpoint& checkpoint) {
  const std::vector<TensorBytes> tensors = small_tensors();
  const auto expected = [&](const std::string& name, std::size_t count) {
    return values_of(place_of(tensors, name), count);
  };
  for (const std::size_t layer : {1U, 2U}) {
    checkpoint.check_layer(layer);
    const CheckpointWeights weights(checkpoint, layer);
    const std::string prefix = std::to_string(layer) + ".";
    std::vector<float> router(num_experts * hidden), bias(num_experts);
    weights.read_router(router);
    weights.read_selection_bias(bias);
    EXPECT_EQ(router, expected(prefix + "router", router.size()));
    EXPECT_EQ(bias, expected(prefix + "bias", bias.size()));
    const std::size_t matrix = hidden * intermediate;
    for (std::size_t e = 0; e < num_experts; ++e) {
      std::vector<float> gate(matrix), up(matrix), down(matrix);
      weights.read_expert(expert_at(e), {gate, up, down});
      EXPECT_EQ(gate, expected(prefix + std::to_string(e) + ".gate", matrix));
      EXPECT_EQ(up, expected(prefix + std::to_string(e) + ".up", matrix));
      EXPECT_EQ(down, expected(prefix + std::to_string(e) + ".down", matrix));
    }
    const std::size_t shared = hidden * shared_intermediate;
    std::vector<float> gate(shared), up(shared), down(shared);
    weights.read_shared_expert({gate, up, down});
    EXPECT_EQ(gate, expected(prefix + "shared.gate", shared));
    EXPECT_EQ(up, expected(prefix + "shared.up", shared));
    EXPECT_EQ(down, expected(prefix + "shared.down", shared));
  }
}

TEST(Checkpoint, ReadsTheSameWeightsFromOneFileAndFromShards) {
  const test::TemporaryFolder one;
  write_bytes(one / "model.safetensors", test::safetensors_bytes(small_tensors()));
  const Checkpoint single(one.path(), small_config());
  expect_all_weights(single);
  for (const std::size_t num_files : {1U, 2U, 3U, 7U}) {
    const test::TemporaryFolder folder;
    const Shards shards(num_files);
    shards.write(folder, shards.index(shards.right_metadata()));
    const Checkpoint sharded(folder.path(), small_config());
    expect_all_weights(sharded);
    EXPECT_EQ(sharded.digest(), single.digest());
    EXPECT_EQ(sharded.files_read().size(), num_files + 2);
  }
}

TEST(Checkpoint, ReadsTwoMatricesOfExpertsWithoutGate) {
  const test::TemporaryFolder folder;
  std::vector<TensorBytes> tensors = small_tensors();
  std::erase_if(tensors, [](const TensorBytes& t) { return t.name.find("gate") != std::string::npos; });
  write_bytes(folder / "model.safetensors", test::safetensors_bytes(tensors));
  ModelConfig config = small_config();
  config.layer.expert.gated = false;
  const Checkpoint checkpoint(folder.path(), config);
  checkpoint.check_layer(1);
  std::vector<float> up(hidden * intermediate), down(up.size());
  CheckpointWeights(checkpoint, 1).read_expert(expert_at(0), {{}, up, down});
  const std::vector<TensorBytes> all = small_tensors();
  EXPECT_EQ(up, values_of(place_of(all, "1.0.up"), up.size()));
  EXPECT_EQ(down, values_of(place_of(all, "1.0.down"), down.size()));
}

TEST(Checkpoint, MissesEveryTensorThatALayerNeeds) {
  for (const TensorBytes& left_out : small_tensors()) {
    const test::TemporaryFolder folder;
    std::vector<TensorBytes> tensors = small_tensors();
    std::erase_if(tensors, [&](const TensorBytes& t) { return t.name == left_out.name; });
    write_bytes(folder / "model.safetensors", test::safetensors_bytes(tensors));
    const Checkpoint checkpoint(folder.path(), small_config());
    const std::size_t layer = left_out.name[0] == '1' ? 1 : 2;
    EXPECT_EQ(test::message_of<InvalidInput>([&] { checkpoint.check_layer(layer); }),
              (folder / "model.safetensors").string() + ": tensor '" + left_out.name + "' is missing");
    EXPECT_NO_THROW(checkpoint.check_layer(3 - layer));
  }
}

TEST(Checkpoint, RefusesEveryTensorOfAnotherShapeOrType) {
  for (std::size_t i = 0; i < small_tensors().size(); ++i) {
    const test::TemporaryFolder folder;
    std::vector<TensorBytes> tensors = small_tensors();
    const std::size_t layer = tensors[i].name[0] == '1' ? 1 : 2;
    tensors[i].shape.insert(tensors[i].shape.begin(), 1);
    write_bytes(folder / "model.safetensors", test::safetensors_bytes(tensors));
    EXPECT_THROW(Checkpoint(folder.path(), small_config()).check_layer(layer), InvalidInput);
    tensors = small_tensors();
    tensors[i].dtype = tensors[i].dtype == "F32" ? "I32" : "F16";
    write_bytes(folder / "model.safetensors", test::safetensors_bytes(tensors));
    EXPECT_THROW(Checkpoint(folder.path(), small_config()).check_layer(layer), InvalidInput);
  }
}

TEST(Checkpoint, RefusesMoreExpertsThanTheConfigurationSays) {
  for (const char* surplus : {"1.5.gate", "1.5.up", "1.5.down"}) {
    const test::TemporaryFolder folder;
    std::vector<TensorBytes> tensors = small_tensors();
    tensors.push_back({surplus, "F32", {1}, std::string(4, '\0')});
    write_bytes(folder / "model.safetensors", test::safetensors_bytes(tensors));
    const Checkpoint checkpoint(folder.path(), small_config());
    EXPECT_EQ(test::message_of<InvalidInput>([&] { checkpoint.check_layer(1); }),
              (folder / "model.safetensors").string() + ": holds tensor '" + surplus +
                  "', but the model has 5 experts");
    EXPECT_NO_THROW(checkpoint.check_layer(2));
  }
}

TEST(Checkpoint, RefusesLayersWithoutExperts) {
  const test::TemporaryFolder folder;
  write_bytes(folder / "model.safetensors", test::safetensors_bytes(small_tensors()));
  const Checkpoint checkpoint(folder.path(), small_config());
  EXPECT_THROW(checkpoint.check_layer(0), InvalidInput);
  EXPECT_THROW(checkpoint.check_layer(3), InvalidInput);
}

TEST(Checkpoint, NamesValuesThatAreNotFinite) {
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
    const test::TemporaryFolder folder;
    std::vector<TensorBytes> tensors = small_tensors();
    for (TensorBytes& tensor : tensors) {
      if (tensor.name != "1.3.down") continue;
      std::vector<float> values(hidden * intermediate, 1.0F);
      values[4] = value;
      tensor.bytes = tensor.dtype == "F32" ? bytes_of(values) : bf16_bytes_of(values);
    }
    write_bytes(folder / "model.safetensors", test::safetensors_bytes(tensors));
    const Checkpoint checkpoint(folder.path(), small_config());
    std::vector<float> gate(hidden * intermediate), up(gate.size()), down(gate.size());
    const CheckpointWeights weights(checkpoint, 1);
    EXPECT_NO_THROW(weights.read_expert(expert_at(2), {gate, up, down}));
    const std::string message = test::message_of<InvalidInput>([&] {
      weights.read_expert(expert_at(3), {gate, up, down});
    });
    EXPECT_EQ(message.rfind((folder / "model.safetensors").string() + ": tensor '1.3.down' holds ", 0), 0U);
    EXPECT_NE(message.find("as its element 4;"), std::string::npos) << message;
  }
}

TEST(Checkpoint, DigestsConfigurationNamesShapesAndTypes) {
  const test::TemporaryFolder folder;
  const auto digest = [&](const std::vector<TensorBytes>& tensors, const ModelConfig& config) {
    write_bytes(folder / "model.safetensors", test::safetensors_bytes(tensors));
    return Checkpoint(folder.path(), config).digest();
  };
  const std::uint64_t original = digest(small_tensors(), small_config());
  EXPECT_EQ(digest(small_tensors(), small_config()), original);
  std::vector<TensorBytes> tensors = small_tensors();
  tensors[3].shape = {hidden, intermediate};
  EXPECT_NE(digest(tensors, small_config()), original);
  tensors = small_tensors();
  tensors[3].name += "x";
  EXPECT_NE(digest(tensors, small_config()), original);
  tensors = small_tensors();
  tensors[2].dtype = "I32";
  EXPECT_NE(digest(tensors, small_config()), original);
  const std::vector<void (*)(ModelConfig&)> changes{
      [](ModelConfig& c) { c.moe_layers = {1}; },
      [](ModelConfig& c) { c.layer.expert.activation = Activation::relu; },
      [](ModelConfig& c) { c.layer.router.scale = 1.0000001F; },
      [](ModelConfig& c) { c.layer.router.score = Score::sigmoid; },
      [](ModelConfig& c) { c.layer.router.group_score = GroupScore::sum_of_two_largest; },
      [](ModelConfig& c) { c.layer.router.kept_groups = 2; },
      [](ModelConfig& c) { c.names.down = "other"; }};
  for (const auto& change : changes) {
    ModelConfig config = small_config();
    change(config);
    EXPECT_NE(digest(small_tensors(), config), original);
  }
}

TEST(TensorFiles, FollowTheIndexWhereThereIsOne) {
  const test::TemporaryFolder folder;
  const Shards shards(2);
  shards.write(folder, shards.index("{}"));
  write_bytes(folder / "model.safetensors", "no safetensors file at all");
  EXPECT_EQ(refusal(folder), "");
  std::filesystem::remove(folder / "model.safetensors.index.json");
  EXPECT_NE(refusal(folder).find("model.safetensors: "), std::string::npos);
  std::filesystem::remove(folder / "model.safetensors");
  EXPECT_EQ(refusal(folder), (folder / "model.safetensors").string() + ": No such file or directory");
}

TEST(TensorFiles, DoNotMindOtherMetadata) {
  const Shards shards(2);
  EXPECT_EQ(refusal(shards, shards.index(shards.right_metadata())), "");
  for (const char* metadata : {"{}", "null", "[]", "1", R"({"total_size":null})", R"({"total_size":"1"})",
                               R"({"a":{"total_size":1},"total_parameters":7,"b":[{"weight_map":1}]})"}) {
    EXPECT_EQ(refusal(shards, shards.index(metadata)), "") << metadata;
  }
  std::string with_more = shards.index("{}");
  with_more.insert(1, R"("weight":{"map":[1,{"weight_map":[]}]},)");
  EXPECT_EQ(refusal(shards, with_more), "");
}

TEST(TensorFiles, RefuseFileNamesThatLeadElsewhere) {
  for (const char* name : {"/etc/x.safetensors", "sub/x.safetensors", "../x.safetensors", "..safetensors",
                           "a..safetensors", "a\\\\b.safetensors", "x.bin", "x.safetensors.index.json",
                           ".safetensors", "", "x.safetensors ", "a\\u0000.safetensors"}) {
    Shards shards(2);
    shards.weight_map[3].second = name;
    EXPECT_NE(refusal(shards, shards.index("{}")).find("must be the name of a .safetensors file"),
              std::string::npos)
        << name;
  }
}

TEST(TensorFiles, RefuseAnIndexThatDoesNotFitItsShards) {
  const Shards good(3);
  const std::string first = good.weight_map[0].first;

  Shards missing_shard(3);
  missing_shard.weight_map[4].second = "model-9.safetensors";
  EXPECT_EQ(refusal(missing_shard, missing_shard.index("{}")),
            "model-9.safetensors: No such file or directory");

  Shards wrong_shard(3);
  wrong_shard.weight_map[0].second = Shards::file_name(1);
  EXPECT_EQ(refusal(wrong_shard, wrong_shard.index("{}")),
            "model.safetensors.index.json: tensor '" + first +
                "' is in model-0.safetensors, but weight_map gives it to model-1.safetensors");

  Shards unlisted(3);
  unlisted.weight_map.erase(unlisted.weight_map.begin());
  EXPECT_EQ(refusal(unlisted, unlisted.index("{}")),
            "model.safetensors.index.json: tensor '" + first +
                "' is in model-0.safetensors, but weight_map leaves it out");

  Shards lost(3);
  lost.files[0].erase(lost.files[0].begin());
  EXPECT_EQ(refusal(lost, lost.index("{}")), "model.safetensors.index.json: weight_map gives tensor '" +
                                                 first + "' to model-0.safetensors, which does not hold it");

  Shards twice(3);
  twice.files[2].push_back(twice.files[0].front());
  EXPECT_EQ(refusal(twice, twice.index("{}")),
            "model.safetensors.index.json: tensor '" + first +
                "' is in model-0.safetensors and again in model-2.safetensors");
}

TEST(TensorFiles, DoNotMindAWrongTotalSize) {  // as published indexes have
  const Shards shards(2);
  EXPECT_EQ(refusal(shards, shards.index(R"({"total_size":12})")), "");
  EXPECT_EQ(refusal(shards, shards.index(R"({"total_size":-1.5})")), "");
}

TEST(TensorFiles, RefuseAnIndexOfAnotherForm) {
  const Shards shards(1);
  for (const char* index :
       {"", "[]", "1", "null", "{", "{}", R"({"weight_map":null})", R"({"weight_map":[]})",
        R"({"weight_map":"x"})", R"({"weight_map":{"t":1}})", R"({"weight_map":{"t":null}})",
        R"({"weight_map":{"t":true}})", R"({"weight_map":{"t":1.5}})",
        R"({"weight_map":{"t":["a.safetensors"]}})", R"({"weight_map":{"t":{"a":"a.safetensors"}}})",
        R"({"weight_map":{"t":"model-0.safetensors","t":"model-0.safetensors"}})",
        R"({"weight_map":{},"weight_map":{}})", R"({"metadata":{"a":1,"a":1},"weight_map":{}})"}) {
    EXPECT_EQ(refusal(shards, index).rfind("model.safetensors.index.json: ", 0), 0U) << index;
  }
}

TEST(TensorFiles, RefuseAnIndexThatIsTooLarge) {
  const test::TemporaryFolder folder;
  write_bytes(folder / "model.safetensors.index.json", "{}");
  std::filesystem::resize_file(folder / "model.safetensors.index.json", (std::size_t{256} << 20) + 1);
  EXPECT_NE(refusal(folder).find("268435457 bytes are more than"), std::string::npos);
}

TEST(TensorIndex, TakesNoMoreThanAFewThousandShards) {
  const auto index_of = [](std::size_t num_shards) {
    std::string text = R"({"weight_map":{)";
    for (std::size_t i = 0; i < num_shards; ++i) {
      text += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":\"" + std::to_string(i) + ".safetensors\"";
    }
    return text + "}}";
  };
  EXPECT_EQ(parse_tensor_index(index_of(4096), "INDEX").shards.size(), 4096U);
  EXPECT_EQ(test::message_of<InvalidInput>([&] { parse_tensor_index(index_of(4097), "INDEX"); }),
            "INDEX: more than 4096 files");
}

}  // namespace
}  // namespace moewe
