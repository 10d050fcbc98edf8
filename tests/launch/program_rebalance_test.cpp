// Experts that migrate while steps go on: the results are those of a run in which none does.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_bytes.hpp"

namespace moewe {
namespace {

using nlohmann::json;
using test::processes;
using test::results_of;
using test::shipped;
using test::threads;

/// Loads that are uneven on any number of ranks.
std::string uneven_run() {
  return shipped().run() + " --tokens 60 --steps 150 --routing lognormal:1 --seed 2 ";
}

/// Of one expert of the sample, which has three matrices.
std::size_t expert_bytes(const json& config) {
  return 3 * config["hidden_size"].get<std::size_t>() * config["intermediate_size"].get<std::size_t>() *
         sizeof(float);
}

TEST(Rebalance, MovesExpertsAndLosesNothing) {
  const json config = json::parse(test::read_file(shipped().folder / "config.json"));
  const json still = results_of(threads(1), uneven_run());
  EXPECT_EQ(still["migration"]["epochs"], 0);
  for (const test::Ranks ranks : {threads(2), threads(3), threads(4), processes(2), processes(4)}) {
    for (const std::string more : {"", " --spare-slots 0 --verify audit", " --overlap half --split stored"}) {
      SCOPED_TRACE(describe(ranks) + more);
      const json results = results_of(ranks, uneven_run() + "--rebalance every:1" + more);
      const json& migration = results["migration"];
      EXPECT_EQ(results["output_sha256"], still["output_sha256"]);
      EXPECT_EQ(results["ledger"]["lost"], 0);
      EXPECT_EQ(results["ledger"]["computed"], results["ledger"]["assigned"]);
      EXPECT_GE(migration["moves"], 1);
      EXPECT_GE(migration["epochs"], 1);
      EXPECT_EQ(migration["cancelled"], 0);
      EXPECT_EQ(migration["bytes"], migration["moves"].get<std::size_t>() * expert_bytes(config));
      EXPECT_FALSE(migration["log"].empty());
      EXPECT_EQ(migration["budget_bytes"], 1 << 20);
      EXPECT_EQ(migration["budget_reason"], "all ranks share a node");
      EXPECT_EQ(results["memory"]["planned_bytes"], results["memory"]["peak_bytes"]);
    }
  }
}

TEST(Rebalance, MakesLoadsEven) {
  const json still = results_of(threads(2), uneven_run());
  const json moved = results_of(threads(2), uneven_run() + "--rebalance auto");
  EXPECT_GT(still["imbalance"]["last"], 1.1);
  EXPECT_LT(moved["imbalance"]["last"], 1.05);
  EXPECT_EQ(moved["output_sha256"], still["output_sha256"]);
}

TEST(Rebalance, TellsWhatAMoveWasPredictedToGainAndWhatItGained) {
  const std::string text = run_moewe(threads(2), uneven_run() + "--rebalance auto").output;
  for (const char* part : {": move; imbalance 1.", " -> 1.", "the move planned in step ", " predicted "})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

/// Of two ranks of which the second takes twice as long.
std::string costs(const std::string& more = "") {
  return R"({"moewe_costs": 1, "top_k": 2, "tile_rows": 1, "row_ps": 90000, "weight_read_ps": 0,
    "expert_ps": 0, "inside_nodes": {"dispatch_row_ps": 1, "return_row_ps": 1},
    "between_nodes": {"dispatch_row_ps": 1, "return_row_ps": 1}, "combine": "reproducible")" +
         more + "}";
}

TEST(Rebalance, GivesSlowRanksLessWithTheSameBits) {
  const test::TemporaryFolder folder;
  const std::string file = (folder / "costs").string();
  test::write_bytes(folder / "costs", costs(R"(, "slowness": [1000000, 2000000])"));
  const std::string run = shipped().run() + " --tokens 60 --steps 150 --routing uniform ";
  const json still = results_of(threads(1), run);
  for (const test::Ranks ranks : {threads(2), processes(2)}) {
    const json results = results_of(ranks, run + "--rebalance auto --spare-slots 3 --cost " + file);
    EXPECT_EQ(results["output_sha256"], still["output_sha256"]);
    EXPECT_EQ(results["migration"]["slowness"], (json{1.0, 2.0}));
    EXPECT_GE(results["migration"]["epochs"], 1);
    const json& computed = results["ledger"]["computed_per_rank"];
    EXPECT_GT(computed[0].get<double>(), 1.5 * computed[1].get<double>()) << computed;
  }
}

TEST(Rebalance, MayGoByWhatItMeasuresWithTheSameBits) {
  const test::TemporaryFolder folder;
  test::write_bytes(folder / "costs", costs());
  const json still = results_of(threads(1), uneven_run());
  const json results = results_of(
      processes(3), uneven_run() + "--rebalance every:1 --measure all --cost " + (folder / "costs").string());
  EXPECT_EQ(results["output_sha256"], still["output_sha256"]);
  EXPECT_EQ(results["migration"]["measured"], "all");
  EXPECT_EQ(results["migration"]["cancelled"], 0);
  EXPECT_NE(results["migration"]["interference"], 0.05);  // which is assumed
  EXPECT_GT(results["migration"]["switching"], 0);
}

TEST(Rebalance, LeavesEvenLoadsAlone) {
  const std::string run = shipped().run() + " --tokens 60 --steps 150 --routing uniform --rebalance auto";
  const json results = results_of(threads(2), run);
  EXPECT_EQ(results["migration"]["moves"], 0);
  EXPECT_TRUE(results["migration"]["log"].empty());
}

TEST(Rebalance, HasTheSameResultsUnderACapacityAndInRounds) {
  for (const std::string more :
       {"--capacity-factor 0.9", "--capacity-factor 1 --overflow drop-lowest-weight --dtype bf16"}) {
    const std::string expected = test::hash_of(threads(1), uneven_run() + more);
    EXPECT_EQ(test::hash_of(processes(3), uneven_run() + more + " --rebalance every:2"), expected) << more;
  }
}

TEST(Rebalance, RefusesWhatCannotBe) {
  const std::string run = uneven_run();
  const test::TemporaryFolder folder;
  const auto cost = [&](const char* name, const std::string& text) {
    test::write_bytes(folder / name, text);
    return run + "--rebalance auto --cost " + (folder / name).string();
  };
  std::string other_model = costs();
  other_model.replace(other_model.find("top_k\": 2"), 9, "top_k\": 3");
  test::expect_refusals({
      {run + "--rebalance auto --measure time", "--measure must be off, speeds, costs or all"},
      {run + "--measure all", "--measure needs --rebalance auto or every:N"},
      {run + "--cost costs", "--cost needs --rebalance auto or every:N"},
      {cost("none", "{}"), "none: "},
      {cost("other", other_model), "other: is for top_k 3, but the model has 2"},
      {cost("costs", costs()) + " --combine fast", "costs: is for the other --combine"},
      {run + "--rebalance often", "--rebalance must be off, auto, or every:N"},
      {run + "--rebalance every:0", "--rebalance must be off, auto, or every:N"},
      {run + "--rebalance every:", "--rebalance must be off, auto, or every:N"},
      {run + "--migration-budget 1MiB", "--migration-budget needs --rebalance auto or every:N"},
      {run + "--spare-slots x", "--spare-slots"},
      {run + "--rebalance auto --migration-budget 1", "--migration-budget must be from 4096 to"},
      {run + "--rebalance auto --migration-budget 1GiB", "--migration-budget must be from 4096 to"},
      {run + "--rebalance auto --combine fast --resume --output x",
       "contradict each other with --combine fast"},
      {run + "--split stored --combine fast --resume --output x",
       "contradict each other with --combine fast"},
      {run + "--split stored --capacity-factor 1", "--split stored and --capacity-factor contradict"},
      {run + "--split best", "--split best is not available"},
  });
}

}  // namespace
}  // namespace moewe
