// Forced routings and recorded traces in the place of the router.

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <set>

#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_files.hpp"

namespace moewe {
namespace {

using test::hash_of;
using test::processes;
using test::results_of;
using test::Sample;
using test::shipped;
using test::threads;

using Counts = std::vector<std::int64_t>;

void expect_one_hash(const std::string& options) {
  const std::string expected = hash_of(threads(1), options);
  EXPECT_EQ(hash_of(threads(3), options), expected) << options;
  EXPECT_EQ(hash_of(processes(4), options), expected) << options;
}

double imbalance_of(const std::string& options) {
  return results_of(threads(4), options)["imbalance"]["first"];
}

TEST(ForcedRouting, GivesOneHash) {
  const Sample sample = test::shipped();
  const std::string hot = fmt::format(" --routing hot:{}", sample.top_k);
  for (const std::string& routing : {std::string(" --routing uniform"), std::string(" --routing lognormal:1"),
                                     std::string(" --routing zipf:1 --dtype bf16"), hot}) {
    expect_one_hash(sample.run() + " --tokens 251 --steps 2 --seed 3" + routing);
  }
}

TEST(ForcedRouting, IsAsSkewedAsAskedFor) {
  for (const Sample& sample : test::samples()) {
    const std::string options = sample.run() + " --tokens 2000 --routing ";
    const double uniform = imbalance_of(options + "uniform");
    EXPECT_LT(uniform, 1.1) << sample.name();
    EXPECT_GT(imbalance_of(options + "zipf:2"), uniform) << sample.name();
    EXPECT_GT(imbalance_of(options + "lognormal:2"), uniform) << sample.name();
  }
}

/// With as many hot experts as a token takes, all tokens take these.
TEST(ForcedRouting, PutsAllWorkOnTheRanksThatHoldTheHotExperts) {
  const test::TemporaryFolder folder;
  for (const Sample& sample : test::samples()) {
    const std::string file = (folder / sample.name()).string();
    const auto results = results_of(threads(4), sample.run() + " --layers 0 --tokens 100 --routing hot:" +
                                                    std::to_string(sample.top_k) + " --output " + file);
    const auto ids =
        test::values_of<std::int32_t>(test::find_tensor(test::read_tensors(file), "layers.0.topk_ids"));
    ASSERT_EQ(ids.size(), 100 * sample.top_k);
    const std::set<std::int32_t> hot(ids.begin(), ids.end());
    EXPECT_EQ(hot.size(), sample.top_k);
    Counts expected(4, 0);
    for (const std::int32_t e : hot) expected[static_cast<std::size_t>(e) * 4 / sample.num_experts] += 100;
    EXPECT_EQ(results["ledger"]["computed_per_rank"].get<Counts>(), expected);
    const double most = static_cast<double>(*std::max_element(expected.begin(), expected.end()));
    EXPECT_DOUBLE_EQ(results["imbalance"]["first"], most / (100.0 * static_cast<double>(sample.top_k) / 4));
  }
}

TEST(ForcedRouting, IsNotComparedWithWhatARouterRecorded) {
  const auto verify = results_of(threads(2), shipped().run_recorded() + " --routing uniform")["verify"];
  EXPECT_EQ(verify["compared_rows"], 0);
  EXPECT_EQ(verify["compared_ids"], 0);
}

TEST(TokensPerRank, TimesTheRanksAreTheTokens) {
  for (const test::Ranks ranks : {threads(1), threads(3), processes(4)}) {
    const std::string number = std::to_string(50 * ranks.count);
    const auto results = results_of(ranks, shipped().run() + " --tokens-per-rank 50");
    EXPECT_EQ(results["tokens"], 50 * ranks.count);
    EXPECT_EQ(results["ledger"]["assigned"], 2 * 2 * 50 * ranks.count);
    EXPECT_EQ(results["output_sha256"], hash_of(threads(1), shipped().run() + " --tokens " + number));
  }
}

/// Two steps of two layers of three tokens, whose experts are known.
std::string write_trace(const test::TemporaryFolder& folder, const std::vector<std::uint8_t>& ids) {
  test::write_bytes(folder / "trace",
                    test::safetensors_bytes({{"topk_ids", "U8", {2, 2, 3, 2}, test::bytes_of(ids)}}));
  return (folder / "trace").string();
}

TEST(Trace, DecidesTheExpertsAndStartsAgainAtItsEnd) {
  const test::TemporaryFolder folder;
  const std::vector<std::uint8_t> ids{0, 1, 2, 3, 4, 5, 7, 6, 5, 4, 3, 2,   // step 0
                                      1, 0, 1, 2, 1, 3, 6, 0, 6, 1, 6, 2};  // step 1
  const std::string options = shipped().run() + " --routing trace:" + write_trace(folder, ids);
  for (const std::size_t num_steps : {1U, 2U, 3U, 4U}) {
    const std::string file = (folder / "out").string();
    const auto results =
        results_of(threads(2), options + " --steps " + std::to_string(num_steps) + " --output " + file);
    EXPECT_EQ(results["tokens"], 3);
    const auto written = test::read_tensors(file);
    for (const std::size_t layer : {0U, 1U}) {
      const auto of_layer =
          test::values_of<std::int32_t>(test::find_tensor(written, fmt::format("layers.{}.topk_ids", layer)));
      const auto first = ids.begin() + static_cast<std::ptrdiff_t>(12 * ((num_steps - 1) % 2) + 6 * layer);
      EXPECT_EQ(of_layer, std::vector<std::int32_t>(first, first + 6))
          << num_steps << " steps, layer " << layer;
    }
    EXPECT_EQ(test::values_of<float>(test::find_tensor(written, "layers.0.topk_weights")),
              std::vector<float>(6, 0.5F));
  }
  expect_one_hash(options + " --steps 3");
  expect_one_hash(options + " --steps 3 --tokens 7");
}

TEST(Trace, OfWholeCheckpointsGivesOneHash) {
  const auto checkpoints = test::whole_checkpoints();
  if (checkpoints.empty()) GTEST_SKIP() << "MOEWE_DATA is not set";
  for (const Sample& sample : checkpoints) {
    const std::string trace = " --routing trace:" + (sample.folder / "routing_trace.safetensors").string();
    const auto results = results_of(threads(2), sample.run() + trace);
    EXPECT_EQ(results["tokens"], 2048);
    EXPECT_GT(results["imbalance"]["first"], 1.05);
    expect_one_hash(sample.run() + trace + " --tokens 300 --steps 2");
  }
}

TEST(Trace, OfAPublishedModelGivesOneHash) {
  const char* data = std::getenv("MOEWE_DATA");
  if (data == nullptr) GTEST_SKIP() << "MOEWE_DATA is not set";
  for (const char* name : {"w0-routing.npy", "w1-routing.npy"}) {
    expect_one_hash(
        "run --model custom --hidden 32 --intermediate 16 --experts 8 --topk 2 --layers 0-31 "
        "--tokens 200 --routing trace:" +
        (std::filesystem::path(data) / "mixtral_8x7b_routing" / name).string());
  }
}

}  // namespace
}  // namespace moewe
