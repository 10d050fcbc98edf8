// moewe run --overlap: a matter of speed, and of nothing else.

#include <gtest/gtest.h>

#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"

namespace moewe {
namespace {

using test::hash_of;
using test::processes;
using test::Ranks;
using test::results_of;
using test::Sample;
using test::shipped;
using test::TemporaryFolder;
using test::threads;

const std::vector<std::string> modes{"off", "shared", "half"};

/// The same hash in every mode as on one rank by default.
void expect_one_hash(const std::string& options, const std::vector<Ranks>& all_ranks) {
  const std::string expected = hash_of(threads(1), options);
  for (const Ranks ranks : all_ranks) {
    for (const std::string& mode : modes) {
      EXPECT_EQ(hash_of(ranks, options + " --overlap " + mode), expected)
          << options << ", " << mode << ", " << describe(ranks);
    }
  }
}

TEST(Overlap, LeavesTheHashAloneOnThreadsAndProcesses) {
  for (const Sample& sample : test::samples()) {
    expect_one_hash(sample.run_recorded() + " --tokens 337", {threads(1), threads(4)});
  }
  expect_one_hash(shipped().run_recorded() + " --tokens 337", {processes(3)});
  expect_one_hash(shipped().run_recorded() + " --tokens 337 --dtype bf16 --path message", {processes(2)});
}

TEST(Overlap, LeavesTheHashAloneWithFewTokensAndForcedRoutings) {
  for (const char* tokens : {"0", "1", "2", "5"})
    expect_one_hash(shipped().run_recorded() + " --tokens " + tokens, {threads(3)});
  for (const char* routing : {"zipf:1", "hot:3", "lognormal:0.5"}) {
    expect_one_hash(shipped().run() + " --tokens 100 --steps 2 --seed 3 --routing " + routing,
                    {threads(1), threads(3)});
  }
}

TEST(Overlap, LeavesFilesAlone) {
  const TemporaryFolder folder;
  std::string expected;
  for (const std::string& mode : modes) {
    const std::string file = (folder / mode).string();
    results_of(threads(3), shipped().run_recorded() + " --overlap " + mode + " --output " + file);
    if (expected.empty()) expected = test::read_file(file);
    EXPECT_TRUE(test::read_file(file) == expected) << mode;
  }
  EXPECT_FALSE(expected.empty());
}

TEST(Overlap, KeepsToTheMemoryThatAStepMayTake) {
  const std::string options = shipped().run() + " --tokens 4000 --overlap half";
  const std::string expected = hash_of(threads(1), options);
  const std::size_t least = test::least_memory(threads(3), options);
  std::vector<std::size_t> rounds;
  for (const std::size_t more : std::vector<std::size_t>{0, 100'000, 1'000'000, 100'000'000}) {
    const auto results = results_of(threads(3), options + " --memory-limit " + std::to_string(least + more));
    EXPECT_EQ(results["output_sha256"], expected);
    EXPECT_LE(results["memory"]["peak_bytes"], least + more);
    rounds.push_back(results["memory"]["rounds"]);
  }
  EXPECT_GT(rounds.front(), 2U);
  EXPECT_EQ(rounds.back(), 1U);
}

TEST(Overlap, IsToldInResults) {
  const std::string options = shipped().run_recorded() + " --tokens 10";
  EXPECT_EQ(results_of(threads(2), options)["overlap"]["mode"], "shared");
  for (const std::string& mode : modes) {
    const auto results = results_of(threads(2), options + " --overlap " + mode);
    EXPECT_EQ(results["overlap"]["mode"], mode);
    EXPECT_EQ(results["overlap"]["lanes"], mode == "half" ? 2 : 1);
    EXPECT_EQ(results["ledger"]["assigned"], results["ledger"]["computed"]);
  }
  const auto text = test::run_moewe(threads(2), options + " --overlap half").output;
  EXPECT_NE(text.find("overlap half"), std::string::npos) << text;
}

TEST(Overlap, IsRefusedWhereItCannotBe) {
  const std::string sample = shipped().run() + " --tokens 4 ";
  test::expect_refusals({
      {sample + "--overlap both", "--overlap both is not available; choose from: shared, off, half"},
      {sample + "--overlap half --capacity-factor 1",
       "--overlap half and --capacity-factor contradict each other"},
  });
  const std::string one = test::program() + " " + sample;
  const auto result =
      test::run_command(test::mpiexec() + " -n 1 " + one + "--overlap off : -n 1 " + one + "--overlap half");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find("--overlap half here, but --overlap off on rank 0"), std::string::npos)
      << result.output;
}

}  // namespace
}  // namespace moewe
