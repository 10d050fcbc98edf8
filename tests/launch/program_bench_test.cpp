// moewe bench exchange: contestants whose results are checked, and files that say what was measured.

#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>
#include <tuple>

#include "comm/ucx/ucx_transport.hpp"
#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"

namespace moewe {
namespace {

using test::ProgramResult;
using test::run_moewe;
using test::TemporaryFolder;

const std::string small =
    "bench exchange --tokens-per-rank 5,0 --hidden 40 --experts 6 --topk 3 --time 0.01 ";

std::vector<std::string> names_of(const nlohmann::json& bench_case) {
  std::vector<std::string> names;
  for (const auto& contestant : bench_case["contestants"]) names.push_back(contestant["name"]);
  return names;
}

std::vector<std::string> expected_names(bool are_processes) {
  if (!are_processes) return {"direct", "message-loopback"};
  std::vector<std::string> names{"direct", "message-mpi"};
  if (reason_for_no_ucx().empty()) names.emplace_back("message-ucx");
  names.emplace_back("classic");
  return names;
}

void expect_measured(const nlohmann::json& contestant) {
  EXPECT_TRUE(contestant["correct"]) << contestant["name"];
  for (const char* time : {"roundtrip_s", "dispatch_s", "combine_s", "chained_s"}) {
    EXPECT_LE(contestant[time]["p50"], contestant[time]["p90"]);
    EXPECT_LE(contestant[time]["p90"], contestant[time]["p99"]);
  }
  EXPECT_GT(contestant["roundtrip_s"]["p50"], 0);
  EXPECT_GT(contestant["chained_s"]["p50"], 0);
}

TEST(Bench, TellsOfEveryCaseAndContestantThatItIsCorrect) {
  const TemporaryFolder folder;
  const std::string json = (folder / "json").string();
  for (const auto& [ranks, classic, dtype] :
       {std::tuple{test::threads(3), false, "f32"}, std::tuple{test::processes(2), true, "bf16"}}) {
    const ProgramResult result =
        run_moewe(ranks, small + "--routing uniform,hot:3 --dtype " + dtype + " --json " + json);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    const auto cases = nlohmann::json::parse(test::read_file(json))["cases"];
    ASSERT_EQ(cases.size(), 8U);  // tokens, routings, combines
    for (const auto& one : cases) {
      EXPECT_EQ(names_of(one), expected_names(classic));
      for (const auto& contestant : one["contestants"]) {
        expect_measured(contestant);
        EXPECT_EQ(contestant["chosen"], contestant["name"] == "direct") << contestant["name"];
      }
      EXPECT_EQ(one["choice"]["path"], "direct");
      EXPECT_GT(one["limit_s"], 0);
    }
  }
}

TEST(Bench, WritesTheTrafficBetweenAllRanks) {
  const TemporaryFolder folder;
  const ProgramResult result =
      run_moewe(test::threads(3),
                "bench exchange --tokens-per-rank 7 --hidden 8 --experts 6 --topk 6 --dtype f32 "
                "--time 0.01 --matrix " +
                    (folder / "matrix").string() + " --csv " + (folder / "csv").string());
  ASSERT_EQ(result.exit_code, 0) << result.output;
  std::istringstream matrix(test::read_file(folder / "matrix"));
  std::size_t count = 0;
  for (std::size_t bytes = 0; matrix >> bytes; ++count)
    EXPECT_EQ(bytes, 7U * 8U * 4U);  // every token goes everywhere
  EXPECT_EQ(count, 9U);
  std::istringstream csv(test::read_file(folder / "csv"));
  std::size_t lines = 0;
  for (std::string line; std::getline(csv, line);) ++lines;
  EXPECT_EQ(lines, 1U + 2U * 2U);  // combines, paths
}

TEST(Bench, TellsWhatOverlapGainsAndThatResultsAreTheSame) {
  const TemporaryFolder folder;
  const std::string json = (folder / "json").string();
  for (const test::Ranks ranks : {test::threads(3), test::processes(2)}) {
    for (const char* how :
         {"--routing zipf:1 --dtype f32", "--path message", "--shared 0 --tokens-per-rank 0"}) {
      const ProgramResult result =
          run_moewe(ranks, std::string("bench overlap --hidden 40 --intermediate 24 --experts 6 --topk 3 "
                                       "--time 0.01 --json ") +
                               json + " " + how);
      ASSERT_EQ(result.exit_code, 0) << result.output;
      const auto cases = nlohmann::json::parse(test::read_file(json))["cases"];
      ASSERT_EQ(cases.size(), 1U);
      EXPECT_EQ(names_of(cases[0]), (std::vector<std::string>{"off", "shared", "half", "off again"}));
      for (const auto& contestant : cases[0]["contestants"]) {
        EXPECT_TRUE(contestant["correct"]) << contestant["name"];
        EXPECT_GT(contestant["step_s"]["p50"], 0);
        EXPECT_GT(contestant["gain_over_off"]["p50"], 0);
      }
      EXPECT_EQ(cases[0]["contestants"][0]["gain_over_off"]["p90"], 1.0);
    }
  }
}

TEST(Bench, RefusesWhatCannotBeMeasured) {
  for (const auto& [arguments, part] : std::vector<std::pair<std::string, std::string>>{
           {"bench", "bench needs the name of a benchmark"},
           {"bench experts", "bench needs the name of a benchmark"},
           {"bench exchange --topk 7 --experts 6", "--topk must be a whole number from 1 to 6"},
           {"bench exchange --tokens-per-rank 1,x", "--tokens-per-rank must be whole numbers"},
           {"bench exchange --tokens-per-rank 1,,2", "must be a list"},
           {"bench exchange --routing router", "choose from: uniform"},
           {"bench exchange --combine quick", "choose from: reproducible, fast"},
           {"bench overlap --model qwen3-30b-a3b --hidden 8", "--model and --hidden contradict each other"},
           {"bench overlap --model no", "no"},
           {"bench overlap --topk 17", "--topk must be a whole number from 1 to 16"},
           {"bench overlap --path long", "choose from: auto, direct"},
           {"bench overlap --routing long", "long"},
           {"bench exchange --json /no/such/folder/file", "cannot be written"}}) {
    const ProgramResult result = run_moewe(test::threads(1), arguments);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_NE(result.output.find(part), std::string::npos) << result.output;
  }
}

}  // namespace
}  // namespace moewe
