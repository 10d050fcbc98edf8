// What a run needs is known before anything large is allocated; what has to go in rounds has the same bits.

#include <algorithm>
#include <gtest/gtest.h>

#include "tests/support/program.hpp"

namespace moewe {
namespace {

using test::least_memory;
using test::processes;
using test::ProgramResult;
using test::Ranks;
using test::results_of;
using test::run_moewe;
using test::Sample;
using test::shipped;
using test::threads;

/// A model whose steps need more memory than its weights.
const std::string small_model =
    "run --model custom --hidden 64 --intermediate 16 --experts 16 --topk 4 --tokens 401";

void expect_refused_with_table(const ProgramResult& result) {
  EXPECT_EQ(result.exit_code, 2) << result.output;
  ASSERT_EQ(test::own_lines(result).size(), 1U) << result.output;
  EXPECT_NE(test::own_lines(result)[0].find("moewe: the run needs "), std::string::npos) << result.output;
  for (const char* line : {"Memory of rank ", "\n  expert weights", "router weights", "needed at least",
                           "steps, in one round", "may be used"}) {
    const std::size_t at = result.output.find(line);
    EXPECT_NE(at, std::string::npos) << line << "\n" << result.output;
    EXPECT_EQ(result.output.find(line, at + 1), std::string::npos) << line << "\n" << result.output;
  }
}

TEST(Memory, ThatIsNotThereIsRefusedAtOnce) {
  for (const Ranks ranks : {threads(1), threads(3)}) {
    const ProgramResult result = run_moewe(ranks, "run --model deepseek-v3 --tokens 8");
    expect_refused_with_table(result);
    EXPECT_LT(result.seconds, 2);
  }
  expect_refused_with_table(run_moewe(processes(2), "run --model deepseek-v3 --tokens 8"));
}

TEST(Memory, ThatNoMachineHasIsRefusedAtOnce) {
  const std::string largest = "run --model custom --hidden 1048576 --experts 65536 --intermediate ";
  for (const std::string& run :
       {std::string(
            "run --model custom --hidden 65536 --intermediate 65536 --experts 65536 --topk 1 --tokens 1"),
        largest + "1048576 --topk 1 --tokens 1", largest + "1048576 --topk 1 --tokens 1 --layers 0-9999",
        largest + "1 --topk 65536 --tokens-per-rank 2147483648"}) {
    const ProgramResult result = run_moewe(threads(2), run);
    expect_refused_with_table(result);
    EXPECT_LT(result.seconds, 2) << run;
  }
}

TEST(Memory, ThatALimitAllowsAndTheMachineLacksIsTheLimitsFault) {
  const std::string run = shipped().run() + " --tokens 2147483648 --memory-limit 9000000000000000000";
  for (const Ranks ranks : {threads(1), threads(2), processes(2)}) {
    const ProgramResult result = run_moewe(ranks, run);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    ASSERT_EQ(test::own_lines(result).size(), 1U) << result.output;
    EXPECT_NE(test::own_lines(result)[0].find("--memory-limit must be at most what the machine has"),
              std::string::npos)
        << result.output;
  }
}

TEST(Memory, BelowTheLimitIsRefusedAtOnce) {
  for (const Ranks ranks : {threads(1), threads(4), processes(3)}) {
    for (const char* limit : {"1", "100kB", "0.25MiB"}) {
      expect_refused_with_table(run_moewe(ranks, shipped().run_recorded() + " --memory-limit " + limit));
    }
  }
}

TEST(Memory, SuffixesAreReadAsWritten) {
  for (const auto& [text, bytes] : std::vector<std::pair<std::string, std::size_t>>{
           {"20000000", 20000000}, {"20MB", 20000000}, {"16MiB", 16777216}, {"0.5GB", 500000000}}) {
    const auto memory =
        results_of(threads(1), shipped().run_recorded() + " --memory-limit " + text)["memory"];
    EXPECT_EQ(memory["limit_bytes"], bytes) << text;
  }
}

TEST(Memory, ThatIsJustEnoughIsEnough) {
  for (const std::string& run : {shipped().run_recorded(), small_model}) {
    for (const char* path : {" --path direct", " --path message"}) {
      const std::size_t least = least_memory(threads(3), run + path);
      const auto results = results_of(threads(3), run + path + " --memory-limit " + std::to_string(least));
      EXPECT_LE(results["memory"]["peak_bytes"], least);
      EXPECT_EQ(results["memory"]["limit_bytes"], least);
      expect_refused_with_table(
          run_moewe(threads(3), run + path + " --memory-limit " + std::to_string(least - 1)));
    }
  }
}

/// Runs with limits from just enough on.
void expect_same_bits_in_rounds(const std::string& run, Ranks ranks) {
  const auto whole = results_of(ranks, run);
  EXPECT_EQ(whole["memory"]["rounds"], 1);
  const std::size_t least = least_memory(ranks, run);
  std::vector<int> rounds;
  for (const std::size_t more : {0U, 100'000U, 1'000'000U, 100'000'000U}) {
    const auto results = results_of(ranks, run + " --memory-limit " + std::to_string(least + more));
    EXPECT_EQ(results["output_sha256"], whole["output_sha256"]) << run << ", " << more << " more";
    EXPECT_LE(results["memory"]["peak_bytes"], least + more);
    rounds.push_back(results["memory"]["rounds"]);
  }
  EXPECT_GT(rounds.front(), 1) << run;
  EXPECT_TRUE(std::is_sorted(rounds.rbegin(), rounds.rend())) << run;
  EXPECT_EQ(rounds.back(), 1) << run;
}

TEST(Memory, InRoundsGivesTheSameBits) {
  for (const char* path : {" --path direct", " --path message"}) {
    for (const Ranks ranks : {threads(1), threads(3), processes(4)}) {
      expect_same_bits_in_rounds(small_model + path, ranks);
    }
    expect_same_bits_in_rounds(
        small_model + path + " --dtype bf16 --capacity-factor 1 --overflow next-choice", threads(3));
    expect_same_bits_in_rounds(small_model + path + " --routing zipf:1 --steps 2", threads(3));
  }
}

TEST(Memory, InRoundsGivesTheSameBitsOnWholeCheckpoints) {
  const auto samples = test::whole_checkpoints();
  if (samples.empty()) GTEST_SKIP() << "MOEWE_DATA is not set";
  for (const Sample& sample : samples) {
    for (const char* options : {"", " --path message --dtype bf16"}) {
      expect_same_bits_in_rounds(sample.run_recorded() + options, threads(4));
    }
  }
}

TEST(Presets, RunWhereALayerFits) {
  // Its shared expert is larger than the others, which tells in what is needed to load it.
  const auto results = results_of(
      processes(2),
      "run --model deepseek-v2-lite --layers 1 --tokens 4 --dtype bf16 --routing hot:6 --threads 1");
  EXPECT_EQ(results["model"], "deepseek-v2-lite");
  EXPECT_EQ(results["ledger"]["computed"], 4 * 6);
  // of 64 experts of 3 matrices, every rank holds half
  EXPECT_EQ(results["memory"]["peak_bytes_by_name"]["expert weights"], 32UL * 3 * 2048 * 1408 * 2);
}

}  // namespace
}  // namespace moewe
