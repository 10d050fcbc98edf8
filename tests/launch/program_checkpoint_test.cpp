// Checkpoints in one file and in shards; those that cannot be used are answered with one sentence.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <limits>

#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_files.hpp"

namespace moewe {
namespace {

using test::expect_refusals;
using test::Refusal;
using test::Sample;
using test::Shard;
using test::shipped;
using test::TemporaryFolder;
using test::TensorBytes;

const std::string expert_3 = "model.layers.1.block_sparse_moe.experts.3.";

/// Copies of the sample, each with something else wrong.
class Checkpoint : public testing::Test {
 protected:
  std::filesystem::path copy() {
    const auto path = folder_ / fmt::format("copy-{}", next_++);
    test::copy_checkpoint(shipped().folder, path);
    return path;
  }

  static std::string run(const std::filesystem::path& checkpoint) {
    return "run --tokens 4 --checkpoint " + checkpoint.string();
  }

  template <typename Edit>
  std::string with_tensors(Edit&& edit) {
    const auto path = copy();
    test::edit_tensors(path / "model.safetensors", edit);
    return run(path);
  }

  std::string with_model(const std::string& bytes) {
    const auto path = copy();
    test::write_bytes(path / "model.safetensors", bytes);
    return run(path);
  }

  template <typename Edit>
  std::string with_config(Edit&& edit) {
    const auto path = copy();
    auto config = test::read_json(path / "config.json");
    edit(config);
    test::write_bytes(path / "config.json", config.dump());
    return run(path);
  }

  /// The sample in three shards, after `edit` saw them.
  template <typename Edit>
  std::filesystem::path in_shards(Edit&& edit) {
    const auto path = copy();
    auto shards = test::deal(test::read_tensors(path / "model.safetensors"), 3);
    std::filesystem::remove(path / "model.safetensors");
    edit(shards);
    test::write_shards(path, shards);
    return path;
  }
  std::filesystem::path in_shards() {
    return in_shards([](auto&) {});
  }

  template <typename Edit>
  std::string with_index(Edit&& edit) {
    const auto path = in_shards();
    auto index = test::read_json(path / "model.safetensors.index.json");
    edit(index);
    test::write_bytes(path / "model.safetensors.index.json", index.dump());
    return run(path);
  }

 private:
  TemporaryFolder folder_;
  int next_ = 0;
};

TEST_F(Checkpoint, InShardsIsTheSame) {
  const std::string expected = test::hash_of(test::threads(1), shipped().run_recorded());
  const Sample sharded{in_shards(), 2, 512, 8, 2};
  EXPECT_EQ(test::hash_of(test::threads(3), sharded.run_recorded()), expected);
  EXPECT_EQ(test::hash_of(test::processes(4), sharded.run_recorded() + " --path message"), expected);
}

TEST_F(Checkpoint, ThatIsNotThereIsRefused) {
  const auto no_config = copy(), no_model = copy(), fifo = copy();
  std::filesystem::remove(no_config / "config.json");
  std::filesystem::remove(no_model / "model.safetensors");
  std::filesystem::remove(fifo / "model.safetensors");
  ASSERT_EQ(test::run_command("mkfifo " + (fifo / "model.safetensors").string()).exit_code, 0);
  expect_refusals({
      {run("/no/such/folder"), "/no/such/folder/config.json: No such file or directory"},
      {run(no_config), "config.json: No such file or directory"},
      {run(no_model), "model.safetensors: No such file or directory"},
      {run(fifo), "model.safetensors: not a regular file"},
      {run(shipped().folder / "config.json"), "Not a directory"},
  });
}

TEST_F(Checkpoint, WhoseFileIsTornIsRefused) {
  const std::string whole = test::read_file(shipped().folder / "model.safetensors");
  std::string torn = whole;
  torn[20] = '\x01';
  expect_refusals({
      {with_model(whole.substr(0, whole.size() - 2)), "MetadataIncompleteBuffer"},
      {with_model(whole.substr(0, 50)), "InvalidHeaderLength"},
      {with_model(torn), "model.safetensors: "},
      {with_model(std::string(8, '\xFF') + whole.substr(8)), "HeaderTooLarge"},
  });
}

TEST_F(Checkpoint, WhoseExpertsAreNotThoseOfTheModelIsRefused) {
  expect_refusals({
      {with_tensors([](auto& tensors) { test::find_tensor(tensors, expert_3 + "w1.weight").name = "other"; }),
       "tensor '" + expert_3 + "w1.weight' is missing"},
      {with_tensors([](auto& tensors) {
         test::find_tensor(tensors, expert_3 + "w2.weight").shape = {256, 128};
       }),
       expert_3 + "w2.weight' has shape [256, 128] instead of [128, 256]"},
      {with_tensors([](auto& tensors) {
         test::find_tensor(tensors, "model.layers.0.block_sparse_moe.gate.weight").shape = {128, 8};
       }),
       "gate.weight' has shape [128, 8] instead of [8, 128]"},
      {with_tensors([](auto& tensors) { test::find_tensor(tensors, expert_3 + "w3.weight").dtype = "F16"; }),
       expert_3 + "w3.weight"},
      {with_tensors(
           [](auto& tensors) { tensors.push_back(test::find_tensor(tensors, expert_3 + "w3.weight")); }),
       expert_3 + "w3.weight"},
  });
}

/// The rank that reads a weight is the one that finds out; all of them say it once.
TEST_F(Checkpoint, WhoseWeightsAreNotFiniteIsRefusedByPlace) {
  const auto spoil = [](const std::string& name, std::size_t element) {
    return [name, element](auto& tensors) {
      auto& bytes = test::find_tensor(tensors, name).bytes;
      bytes[2 * element] = '\xC0';
      bytes[2 * element + 1] = '\x7F';  // NaN in bf16
    };
  };
  expect_refusals({
      {with_tensors(spoil("model.layers.1.block_sparse_moe.experts.7.w2.weight", 1000)),
       "model.layers.1.block_sparse_moe.experts.7.w2.weight' holds nan as its element 1000"},
      {with_tensors(spoil("model.layers.0.block_sparse_moe.gate.weight", 5)),
       "model.layers.0.block_sparse_moe.gate.weight' holds nan as its element 5"},
  });
}

TEST_F(Checkpoint, WhoseShardsAreWrongIsRefused) {
  const auto missing = in_shards(), cut = in_shards();
  std::filesystem::remove(missing / "model-2-of-3.safetensors");
  const std::string shard = test::read_file(cut / "model-3-of-3.safetensors");
  test::write_bytes(cut / "model-3-of-3.safetensors", shard.substr(0, shard.size() / 2));
  const auto twice =
      in_shards([](std::vector<Shard>& shards) { shards[2].tensors.push_back(shards[0].tensors.front()); });
  expect_refusals({
      {run(missing), "model-2-of-3.safetensors: No such file or directory"},
      {run(cut), "model-3-of-3.safetensors: "},
      {run(twice), "/model-1-of-3.safetensors"},
  });
}

TEST_F(Checkpoint, WhoseIndexIsWrongIsRefused) {
  const auto to_file = [](const std::string& file) {
    return [file](auto& index) { index["weight_map"].begin().value() = file; };
  };
  const auto empty = in_shards();
  test::write_bytes(empty / "model.safetensors.index.json", "");
  expect_refusals({
      {with_index(to_file("../model-1-of-3.safetensors")), "must be the name of a .safetensors file"},
      {with_index(to_file("/etc/passwd")), "must be the name of a .safetensors file"},
      {with_index(to_file("sub/model.safetensors")), "must be the name of a .safetensors file"},
      {with_index(to_file("model-3-of-3.safetensors")), "weight_map gives"},
      {with_index([](auto& index) { index["weight_map"]["extra"] = "model-1-of-3.safetensors"; }),
       "weight_map gives tensor 'extra' to model-1-of-3.safetensors, which does not hold it"},
      {with_index([](auto& index) { index["weight_map"].erase(index["weight_map"].begin()); }),
       "but weight_map leaves it out"},
      {with_index([](auto& index) { index.erase("weight_map"); }), "weight_map is missing"},
      {with_index([](auto& index) { index["weight_map"] = 3; }), "weight_map is not an object"},
      {run(empty), "model.safetensors.index.json: "},
  });
}

/// What is said of each value of a key of the configuration.
struct ConfigEdit {
  const char* key;
  nlohmann::json value;
  const char* part;
};

TEST_F(Checkpoint, WhoseConfigurationIsNonsenseIsRefused) {
  const std::vector<ConfigEdit> edits{
      {"model_type", "llama", "model_type"},
      {"model_type", 7, "model_type"},
      {"hidden_size", 0, "hidden_size"},
      {"hidden_size", -128, "hidden_size"},
      {"hidden_size", 128.5, "hidden_size"},
      {"hidden_size", "128", "hidden_size"},
      {"hidden_size", nullptr, "hidden_size"},
      {"hidden_size", 1048576, "instead of"},
      {"hidden_size", 1e300, "hidden_size"},
      {"intermediate_size", 512, "has shape [256, 128] instead of [512, 128]"},
      {"num_local_experts", 9, "instead of [9, 128]"},
      {"num_local_experts", 0, "num_local_experts"},
      {"num_experts_per_tok", 9, "num_experts_per_tok"},
      {"num_experts_per_tok", 0, "num_experts_per_tok"},
      {"num_hidden_layers", 0, "num_hidden_layers"},
      {"num_hidden_layers", 3, "layers.2."},
      {"hidden_act", "quick_gelu", "hidden_act"},
  };
  std::vector<Refusal> refusals;
  for (const ConfigEdit& edit : edits) {
    refusals.push_back({with_config([&](auto& config) { config[edit.key] = edit.value; }), edit.part});
  }
  refusals.push_back({with_config([](auto& config) { config.erase("hidden_size"); }), "hidden_size"});
  refusals.push_back(
      {with_config([](auto& config) { config = nlohmann::json::array(); }), "not a JSON object"});
  expect_refusals(refusals);
}

}  // namespace
}  // namespace moewe
