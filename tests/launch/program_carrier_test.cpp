// Messages over UCX instead of MPI: the same bits, and one sentence where it cannot be.

#include <csignal>
#include <gtest/gtest.h>

#include "comm/ucx/ucx_transport.hpp"
#include "tests/support/program.hpp"

namespace moewe {
namespace {

using test::processes;
using test::shipped;

class Ucx : public testing::Test {
 protected:
  void SetUp() override {
    if (!reason_for_no_ucx().empty()) GTEST_SKIP() << reason_for_no_ucx();
  }
};

void expect_messages_over(const nlohmann::json& json, const std::string& carrier, const std::string& reason) {
  for (const auto& pair : json["exchange"]) {
    const bool is_self = pair["from"] == pair["to"];
    EXPECT_EQ(pair["path"], is_self ? "local" : "message") << pair;
    EXPECT_EQ(pair["carrier"], is_self ? "memory" : carrier) << pair;
    EXPECT_EQ(pair["carrier_reason"], is_self ? "of the path" : reason) << pair;
  }
}

TEST_F(Ucx, CarriesTheSameBitsAsMpiAndMemory) {
  const std::string capacity = " --capacity-factor 1 --overflow next-choice --renormalise";
  for (const std::string options : {"", " --dtype bf16", capacity.c_str(), " --combine fast --tokens 5"}) {
    const std::string run = shipped().run_recorded() + options;
    const std::string expected = test::hash_of(processes(3), run + " --path direct");
    EXPECT_EQ(test::hash_of(processes(3), run + " --path message --carrier mpi"), expected) << run;
    const auto over_ucx = test::results_of(processes(3), run + " --path message --carrier ucx --steps 1");
    EXPECT_EQ(over_ucx["output_sha256"], expected) << run;
    expect_messages_over(over_ucx, "ucx", "asked for");
  }
}

TEST_F(Ucx, CarriesLongAndManyMessages) {
  const std::string run =
      "run --model custom --hidden 4096 --intermediate 64 --experts 8 --topk 2 --tokens 600 --layers 0 "
      "--steps 3";
  const std::string expected = test::hash_of(processes(4), run + " --path direct");
  EXPECT_EQ(test::hash_of(processes(4), run + " --path message --carrier ucx"), expected);
}

TEST_F(Ucx, CarriesOverTcpAlone) {
  const std::string run = shipped().run_recorded() + " --path message";
  EXPECT_EQ(test::hash_of(processes(3), run + " --carrier ucx", "UCX_TLS=tcp"),
            test::hash_of(processes(3), run + " --carrier mpi"));
}

TEST_F(Ucx, ThatCannotStartIsRefusedInOneSentence) {
  const auto result =
      test::run_moewe(processes(3), shipped().run_recorded() + " --carrier ucx", "UCX_TLS=no_such_transport");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  const auto lines = test::own_lines(result);
  ASSERT_EQ(lines.size(), 1U) << result.output;
  EXPECT_NE(lines[0].find("carrier ucx cannot be used: "), std::string::npos) << lines[0];
  EXPECT_EQ(result.output.find("UCX  "), std::string::npos) << result.output;  // none of its own lines
}

TEST_F(Ucx, ThatCannotReachARankIsRefusedInOneSentence) {
  const auto result =
      test::run_moewe(processes(2), shipped().run_recorded() + " --carrier ucx", "UCX_TLS=self");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  const auto lines = test::own_lines(result);
  ASSERT_EQ(lines.size(), 1U) << result.output;
  EXPECT_NE(lines[0].find("cannot be reached: "), std::string::npos) << lines[0];
}

TEST_F(Ucx, MustBeAskedForByAllRanks) {
  const std::string run = test::program() + " " + shipped().run_recorded();
  const auto result =
      test::run_command(test::mpiexec() + " -n 1 " + run + " --carrier mpi : -n 1 " + run + " --carrier ucx");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  const auto lines = test::own_lines(result);
  ASSERT_EQ(lines.size(), 1U) << result.output;
  EXPECT_NE(lines[0].find("rank 1: --carrier ucx here, but --carrier mpi on rank 0"), std::string::npos)
      << lines[0];
}

TEST(Carrier, OfMessagesIsMpiWhereNeitherAskedForNorMeasured) {
  const std::string run = shipped().run_recorded() + " --path message --calibrate off";
  expect_messages_over(test::results_of(processes(2), run), "mpi", "the default");
  expect_messages_over(test::results_of(processes(2), run + " --carrier mpi"), "mpi", "asked for");
  expect_messages_over(test::results_of(test::threads(2), run), "loopback", "threads of one process");
}

TEST(Carrier, CannotBeChosenBetweenThreads) {
  for (const char* carrier : {"mpi", "ucx"}) {
    const auto result = test::run_moewe(test::threads(2), shipped().run_recorded() + " --carrier " + carrier);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    ASSERT_EQ(test::own_lines(result).size(), 1U) << result.output;
    EXPECT_NE(result.output.find("these are threads of one process"), std::string::npos) << result.output;
  }
}

TEST(Carrier, LeavesSignalsToThoseWhoHadThem) {
  const std::string run = test::program() + " " + shipped().run_recorded() + " --steps 100000000 > /dev/null";
  const auto exit_code = [&](const std::string& before, const std::string& signals) {
    return test::run_command(before + run + " & sleep 1; " + signals + "; wait $!").exit_code;
  };
  EXPECT_EQ(exit_code("", "kill -HUP $!"), 128 + SIGHUP);
  EXPECT_EQ(exit_code("nohup ", "kill -HUP $!; sleep 1; kill -KILL $!"), 128 + SIGKILL);
}

TEST(Carrier, ThatIsNotCompiledInIsRefused) {
  if (reason_for_no_ucx().empty()) GTEST_SKIP() << "this build has UCX";
  const auto result = test::run_moewe(processes(2), shipped().run_recorded() + " --carrier ucx");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  const auto lines = test::own_lines(result);
  ASSERT_EQ(lines.size(), 1U) << result.output;
  EXPECT_NE(lines[0].find(reason_for_no_ucx()), std::string::npos) << lines[0];
}

}  // namespace
}  // namespace moewe
