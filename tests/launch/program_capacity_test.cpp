// What --capacity-factor promises: the account of what was dropped, and the same drops on any number of
// ranks.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <numeric>

#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_files.hpp"

namespace moewe {
namespace {

using Counts = std::vector<std::int64_t>;
using nlohmann::json;
using test::processes;
using test::results_of;
using test::Sample;
using test::shipped;
using test::threads;

constexpr std::size_t num_tokens = 317;

std::string bounded(const Sample& sample, const std::string& capacity) {
  return sample.run_recorded() + " --tokens " + std::to_string(num_tokens) + " --capacity-factor " + capacity;
}

std::int64_t sum(const json& counts) {
  const auto values = counts.get<Counts>();
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

/// What the recorded choices alone say about the assignments of a layer.
Counts recorded_loads(const Sample& sample, std::size_t layer) {
  Counts loads(sample.num_experts, 0);
  for (const std::int32_t expert : test::recorded_choice(sample, layer, num_tokens)) {
    ++loads[static_cast<std::size_t>(expert)];
  }
  return loads;
}

/// One expert's row of the account.
void expect_balance(const json& layer, std::size_t e) {
  const auto at = [&](const char* what) { return layer[what][e].get<std::int64_t>(); };
  EXPECT_EQ(at("assigned") - at("over_capacity") - at("no_room") - at("rerouted_from") + at("rerouted_to"),
            at("kept"))
      << layer;
  EXPECT_LE(at("kept"), layer["capacity"].get<std::int64_t>()) << layer;
}

void expect_account(const Sample& sample, const json& results, std::int64_t capacity) {
  ASSERT_EQ(results["overflow"].size(), sample.num_layers);
  std::int64_t kept = 0, over_capacity = 0, no_room = 0, rerouted = 0;
  for (std::size_t i = 0; i < sample.num_layers; ++i) {
    const json& layer = results["overflow"][i];
    EXPECT_EQ(layer["layer"], i);
    EXPECT_EQ(layer["capacity"], capacity);
    EXPECT_EQ(layer["assigned"].get<Counts>(), recorded_loads(sample, i));
    for (std::size_t e = 0; e < sample.num_experts; ++e) expect_balance(layer, e);
    EXPECT_EQ(sum(layer["rerouted_from"]), sum(layer["rerouted_to"]));
    kept += sum(layer["kept"]);
    over_capacity += sum(layer["over_capacity"]);
    no_room += sum(layer["no_room"]);
    rerouted += sum(layer["rerouted_from"]);
  }
  const json& ledger = results["ledger"];
  EXPECT_EQ(ledger["assigned"], sample.num_layers * num_tokens * sample.top_k);
  EXPECT_EQ(ledger["computed"], kept);
  EXPECT_EQ(ledger["dropped"]["over_capacity"], over_capacity);
  EXPECT_EQ(ledger["dropped"]["no_room"], no_room);
  EXPECT_EQ(ledger["rerouted"], rerouted);
  EXPECT_EQ(ledger["lost"], 0);
  EXPECT_EQ(ledger["assigned"], kept + over_capacity + no_room);
}

TEST(Capacity, IsAccountedForAndRespected) {
  for (const Sample& sample : test::samples()) {
    // ceil((T k / E) factor) with a factor of 1
    const std::size_t capacity = (num_tokens * sample.top_k + sample.num_experts - 1) / sample.num_experts;
    for (const char* policy : {"drop-last", "drop-lowest-weight", "next-choice"}) {
      const auto results = results_of(threads(4), bounded(sample, std::string("1 --overflow ") + policy));
      expect_account(sample, results, static_cast<std::int64_t>(capacity));
      const bool reroutes = std::string(policy) == "next-choice";
      EXPECT_EQ(results["ledger"]["rerouted"] > 0, reroutes) << policy;
      EXPECT_EQ(results["ledger"]["dropped"]["over_capacity"] > 0, !reroutes) << policy;
      EXPECT_EQ(results["verify"]["compared_rows"], 0);
    }
  }
}

TEST(Capacity, DropsTheSameOnAnyNumberOfRanks) {
  for (const Sample& sample : test::samples()) {
    for (const char* how : {"0.75 --overflow drop-last", "0.75 --overflow drop-lowest-weight --renormalise",
                            "0.75 --overflow next-choice --dtype bf16"}) {
      const auto one = results_of(threads(1), bounded(sample, how));
      const auto four = results_of(processes(4), bounded(sample, how));
      EXPECT_EQ(one["overflow"], four["overflow"]) << how;
      EXPECT_EQ(one["output_sha256"], four["output_sha256"]) << how;
    }
  }
}

TEST(Capacity, FollowsTheRule) {
  // 317 tokens, 8 experts, 2 for each: see expert_capacity
  const std::vector<std::pair<std::string, int>> capacities{
      {"megatron", 80}, {"deepspeed", 80}, {"vmoe", 40}, {"flaxformer", 40}, {"mesh", 39}};
  for (const auto& [rule, capacity] : capacities) {
    const auto results = results_of(threads(2), bounded(shipped(), "1 --capacity-rule " + rule));
    EXPECT_EQ(results["overflow"][0]["capacity"], capacity) << rule;
    expect_account(shipped(), results, capacity);
  }
}

TEST(Capacity, ThatIsLargeEnoughChangesNothing) {
  const std::string plain = shipped().run_recorded() + " --tokens " + std::to_string(num_tokens);
  for (const char* policy : {"drop-last", "drop-lowest-weight", "next-choice", "error"}) {
    const auto results = results_of(threads(3), bounded(shipped(), std::string("8 --overflow ") + policy));
    EXPECT_EQ(results["output_sha256"], test::hash_of(threads(1), plain)) << policy;
    EXPECT_EQ(results["ledger"]["computed"], results["ledger"]["assigned"]) << policy;
  }
}

TEST(Capacity, EndsTheRunWhereThePolicyIsError) {
  for (const test::Ranks ranks : {threads(1), threads(3), processes(2)}) {
    const test::ProgramResult result = run_moewe(ranks, bounded(shipped(), "0.5 --overflow error"));
    EXPECT_EQ(result.exit_code, 1) << result.output;
    const auto lines = test::own_lines(result);
    ASSERT_EQ(lines.size(), 1U) << result.output;
    EXPECT_NE(lines[0].find("step 1, layer 0: "), std::string::npos) << lines[0];
    EXPECT_NE(lines[0].find("more assignments than their capacity of 40"), std::string::npos) << lines[0];
  }
}

/// Ids and weights that a run of 0.5's capacity wrote, token by token.
struct Written {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
};

Written written(const test::TemporaryFolder& folder, const std::string& how, test::Ranks ranks) {
  const std::string file = (folder / fmt::format("of-{}", ranks.count)).string();
  results_of(ranks, bounded(shipped(), how) + " --output " + file);
  const auto tensors = test::read_tensors(file);
  return {test::values_of<std::int32_t>(test::find_tensor(tensors, "layers.1.topk_ids")),
          test::values_of<float>(test::find_tensor(tensors, "layers.1.topk_weights"))};
}

TEST(Capacity, OutputsTellWhatWasDropped) {
  const test::TemporaryFolder folder;
  const Written one = written(folder, "0.5", threads(1));
  const Written four = written(folder, "0.5", processes(4));
  EXPECT_EQ(one.ids, four.ids);
  EXPECT_EQ(one.weights, four.weights);
  const auto recorded = test::recorded_choice(shipped(), 1, num_tokens);
  std::vector<int> kept(8, 0);
  for (std::size_t i = 0; i < recorded.size(); ++i) {
    const bool has_room = kept[static_cast<std::size_t>(recorded[i])]++ < 40;
    EXPECT_EQ(one.ids[i], has_room ? recorded[i] : -1) << "assignment " << i;
    EXPECT_EQ(one.weights[i] != 0, has_room) << "assignment " << i;
  }
}

TEST(Capacity, RenormalisesTheWeightsThatATokenKeeps) {
  const test::TemporaryFolder folder;
  const Written scaled = written(folder, "0.5 --renormalise", threads(3));
  std::size_t num_scaled = 0;
  for (std::size_t t = 0; t < num_tokens; ++t) {
    const float total = scaled.weights[2 * t] + scaled.weights[2 * t + 1];
    const int num_kept =
        static_cast<int>(scaled.ids[2 * t] >= 0) + static_cast<int>(scaled.ids[2 * t + 1] >= 0);
    EXPECT_NEAR(total, num_kept == 0 ? 0 : 1, 1e-6) << "token " << t;
    if (num_kept == 1) ++num_scaled;
  }
  EXPECT_GT(num_scaled, 0U);
}

TEST(Capacity, FairSharesKeepAsMuchAndDependOnTheRanksAlone) {
  const std::string run = bounded(shipped(), "0.75 --fair-capacity");
  const json three = results_of(threads(3), run);
  EXPECT_EQ(results_of(processes(3), run + " --path message")["output_sha256"], three["output_sha256"]);
  const json unfair = results_of(threads(3), bounded(shipped(), "0.75"));
  EXPECT_EQ(three["overflow"], unfair["overflow"]);  // experts keep as much, of other ranks
  EXPECT_NE(three["output_sha256"], unfair["output_sha256"]);
  EXPECT_EQ(results_of(threads(1), run)["output_sha256"], unfair["output_sha256"]);
}

TEST(Capacity, FairSharesAreRefusedWhereTheyCannotBe) {
  const char* const why = "--fair-capacity needs --overflow drop-last or drop-lowest-weight";
  test::expect_refusals(
      {{shipped().run_recorded() + " --fair-capacity", "--fair-capacity needs --capacity-factor"},
       {bounded(shipped(), "1 --fair-capacity --overflow next-choice"), why},
       {bounded(shipped(), "1 --fair-capacity --overflow error"), why}});
}

}  // namespace
}  // namespace moewe
