// A run says at its end who made whom wait, if somebody did.

#include <algorithm>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/program.hpp"

namespace moewe {
namespace {

using test::interposer;
using test::processes;
using test::results_of;
using test::threads;

const std::string model = "run --model custom --hidden 128 --intermediate 1024 --experts 6 --topk 1 ";
const std::string layer = model + "--steps 20 ";

/// The longest wait is another rank's, and there are waits for this one.
void expect_waits_for(const nlohmann::json& json, std::size_t rank) {
  ASSERT_FALSE(json["waits"].empty()) << json;
  EXPECT_NE(json["waits"][0]["rank"], rank) << json["waits"];
  const bool is_awaited = std::any_of(json["waits"].begin(), json["waits"].end(), [&](const auto& wait) {
    return wait["peer"] == rank && wait["seconds"] > 0;
  });
  EXPECT_TRUE(is_awaited) << json["waits"];
}

TEST(SlowRank, ThatHasAllTheWorkComputesLonger) {
  for (const auto ranks : {threads(2), processes(3)}) {
    const nlohmann::json json = results_of(ranks, layer + "--tokens 3000 --routing hot:1");
    const auto& computed = json["ledger"]["computed_per_rank"];
    const auto hot =
        static_cast<std::size_t>(std::max_element(computed.begin(), computed.end()) - computed.begin());
    ASSERT_FALSE(json["slow_rank"].is_null()) << json["waits"];
    EXPECT_EQ(json["slow_rank"]["rank"], hot) << json["slow_rank"];
    EXPECT_EQ(json["slow_rank"]["reason"], "computes longer") << json["slow_rank"];
    EXPECT_EQ(json["slow_rank"]["phase"], "combine") << json["slow_rank"];
    expect_waits_for(json, hot);
  }
}

TEST(SlowRank, WhoseMessagesAreLateIsNamedWithThem) {
  if (interposer().empty()) GTEST_SKIP() << "a sanitizer's runtime has to be loaded first";
  for (std::size_t rank = 0; rank < 2; ++rank) {
    const nlohmann::json json =
        results_of(processes(2), layer + "--tokens 60 --routing uniform --path message --calibrate off",
                   fmt::format("{} MOEWE_TEST_SLOW_RANK={} MOEWE_TEST_SLOW_US=20000", interposer(), rank));
    ASSERT_FALSE(json["slow_rank"].is_null()) << json["waits"];
    EXPECT_EQ(json["slow_rank"]["rank"], rank) << json["slow_rank"];
    EXPECT_EQ(json["slow_rank"]["reason"], "its messages come late") << json["slow_rank"];
    expect_waits_for(json, rank);
  }
}

TEST(SlowRank, IsPrinted) {
  const test::ProgramResult result = run_moewe(threads(2), layer + "--tokens 3000 --routing hot:1");
  EXPECT_NE(result.output.find("\n  waits       rank "), std::string::npos) << result.output;
  EXPECT_NE(result.output.find(" of the step) in combine: computes longer\n"), std::string::npos)
      << result.output;
}

/// All sleep alike, so that what else the machine does is little beside it.
TEST(SlowRank, IsNobodyWhereAllAreAlike) {
  if (interposer().empty()) GTEST_SKIP() << "a sanitizer's runtime has to be loaded first";
  const std::string run = model + "--steps 6 --tokens 60 --routing uniform --path message --calibrate off";
  const std::string slow = interposer() + " MOEWE_TEST_SLOW_RANK=all MOEWE_TEST_SLOW_US=150000";
  EXPECT_TRUE(results_of(processes(2), run, slow)["slow_rank"].is_null());
  EXPECT_EQ(run_moewe(processes(2), run, slow).output.find("made others wait"), std::string::npos);
}

TEST(SlowRank, IsNobodyWhereThereIsOnlyOne) {
  const nlohmann::json json = results_of(threads(1), layer + "--tokens 60");
  EXPECT_TRUE(json["slow_rank"].is_null());
  EXPECT_TRUE(json["waits"].empty());
}

}  // namespace
}  // namespace moewe
