// Shared memory that is refused, full or used up: a run takes another way, or ends and says which rank lacks
// it.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/program.hpp"

namespace moewe {
namespace {

using test::interposer;
using test::processes;
using test::ProgramResult;
using test::results_of;
using test::run_moewe;
using test::shipped;

std::string plain_hash() { return test::hash_of(test::threads(1), shipped().run_recorded()); }

std::string path_in(const nlohmann::json& results) {
  for (const nlohmann::json& pair : results["exchange"]) {
    if (pair["from"] != pair["to"]) return pair["path"];
  }
  return "";
}

TEST(SharedMemory, ThatOneRankIsRefusedIsHadInAnotherWay) {
  if (interposer().empty()) GTEST_SKIP() << "a sanitizer's runtime has to be loaded first";
  for (const char* rank : {"1", "-1"}) {
    const auto results = results_of(processes(3), shipped().run_recorded(),
                                    interposer() + " MOEWE_TEST_NO_MEMFD_RANK=" + rank);
    EXPECT_EQ(results["output_sha256"], plain_hash());
    EXPECT_EQ(path_in(results), "direct");
  }
}

/// Runs in a mount namespace of its own, where /dev/shm has room for nothing.
ProgramResult run_without_dev_shm(const std::string& options) {
  return test::run_command(
      fmt::format("unshare -m sh -c 'mount -t tmpfs -o size=4k none /dev/shm && exec {} -n 3 {} {}'",
                  test::mpiexec(), test::program(), options));
}

bool can_hide_dev_shm() {
  return test::run_command("unshare -m mount -t tmpfs -o size=4k none /dev/shm").exit_code == 0;
}

TEST(SharedMemory, WhoseFolderIsFullIsNoMatter) {
  if (!can_hide_dev_shm()) GTEST_SKIP() << "only root makes mount namespaces here";
  for (const char* path : {"auto", "message"}) {
    const ProgramResult result = run_without_dev_shm(shipped().run_recorded() + " --path " + path);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_NE(result.output.find("sha256      " + plain_hash()), std::string::npos) << result.output;
  }
}

TEST(SharedMemory, ThatCannotBeHadAtAllIsReplacedByMessages) {
  if (interposer().empty()) GTEST_SKIP() << "a sanitizer's runtime has to be loaded first";
  if (!can_hide_dev_shm()) GTEST_SKIP() << "only root makes mount namespaces here";
  const ProgramResult result = test::run_command(
      fmt::format("unshare -m sh -c 'mount -t tmpfs -o size=4k none /dev/shm && exec {} -n 3 env {} "
                  "MOEWE_TEST_NO_MEMFD_RANK=1 {} {}'",
                  test::mpiexec(), interposer(), test::program(), shipped().run_recorded()));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("sha256      " + plain_hash()), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("message over "), std::string::npos) << result.output;
}

TEST(SharedMemory, ThatEndsOnOneRankNamesItAndTheStep) {
  if (interposer().empty()) GTEST_SKIP() << "a sanitizer's runtime has to be loaded first";
  const std::string run = shipped().run_recorded() + " --timeout 5";
  bool is_named_in_a_step = false;
  for (int call = 1; call <= 8; ++call) {
    const ProgramResult result = run_moewe(
        processes(3), run,
        fmt::format("{} MOEWE_TEST_NO_MEMORY_RANK=1 MOEWE_TEST_NO_MEMORY_CALL={}", interposer(), call));
    if (result.exit_code == 0) continue;  // another way was taken, or there was no such call
    EXPECT_LT(result.seconds, 5) << result.output;
    EXPECT_NE(result.output.find("growing shared memory to "), std::string::npos) << result.output;
    EXPECT_NE(result.output.find("rank 1"), std::string::npos) << result.output;
    is_named_in_a_step = is_named_in_a_step || result.output.find("rank 1, step 1, ") != std::string::npos;
  }
  EXPECT_TRUE(is_named_in_a_step);
}

}  // namespace
}  // namespace moewe
