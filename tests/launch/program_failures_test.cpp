// A run that goes wrong on its way ends, says where, and leaves nothing that looks like a result.

#include <gtest/gtest.h>
#include <thread>

#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"

namespace moewe {
namespace {

using test::interposer;
using test::own_lines;
using test::processes;
using test::ProgramResult;
using test::shipped;
using test::TemporaryFolder;

TEST(Failure, OfARankEndsTheJobAndNamesIt) {
  if (interposer().empty()) GTEST_SKIP() << "a sanitizer's runtime has to be loaded first";
  const ProgramResult result =
      run_moewe(processes(4), shipped().run_recorded() + " --path message --steps 1000000",
                interposer() + " MOEWE_TEST_FAIL_RANK=2 MOEWE_TEST_FAIL_CALL=200");
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_LT(result.seconds, 20);  // and not the 120 that a rank waits
  const std::size_t at = result.output.find("moewe: rank 2, step ");
  ASSERT_NE(at, std::string::npos) << result.output;
  const std::string line = result.output.substr(at, result.output.find('\n', at) - at);
  EXPECT_NE(line.find(", layer "), std::string::npos) << line;
  EXPECT_NE(line.find(", phase "), std::string::npos) << line;
  EXPECT_NE(line.find("MPI reported"), std::string::npos) << line;
}

TEST(Failure, ToAnswerEndsTheJobWithExitCode3) {
  const std::string run = test::program() + " " + shipped().run_recorded() + " --steps 100000000 --timeout 2";
  // Rank 1 stops itself: a shell that sends the signal and then becomes the program.
  const ProgramResult result = test::run_command(
      test::mpiexec() + " -n 1 " + run +
      " : -n 1 sh -c '(sleep 2; kill -STOP $$; sleep 10; kill -CONT $$) > /dev/null 2>&1 & exec " + run +
      "'");
  EXPECT_EQ(result.exit_code, 3) << result.output;
  EXPECT_NE(result.output.find("moewe: rank 0, step "), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("waited 2 s for "), std::string::npos) << result.output;
}

/// What lies in a folder besides files that are still being written.
std::size_t count_named(const std::filesystem::path& folder, const std::string& name) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename() == name) ++count;
  }
  return count;
}

TEST(Failure, ThatKillsTheProgramLeavesNoResults) {
  const TemporaryFolder folder;
  const std::string run = shipped().run_recorded() + " --ranks 2 --steps 100000000 --output " +
                          (folder / "output").string() + " --json " + (folder / "json").string();
  // Killed once it has begun both files, which it does before the first step.
  const ProgramResult result = test::run_command(
      test::program() + " " + run + " > /dev/null & pid=$!; while [ $(ls " + folder.path().string() +
      " | wc -l) -lt 2 ]; do sleep 0.05; done; sleep 0.3; kill -KILL $pid; wait $pid");
  EXPECT_EQ(result.exit_code, 128 + 9) << result.output;
  EXPECT_EQ(count_named(folder.path(), "output"), 0U);
  EXPECT_EQ(count_named(folder.path(), "json"), 0U);
}

TEST(Failure, LeavesWhatWasThereBefore) {
  const TemporaryFolder folder;
  const std::string output = (folder / "output").string();
  ASSERT_EQ(run_moewe(test::threads(2), shipped().run_recorded() + " --output " + output).exit_code, 0);
  const std::string before = test::read_file(output);
  const ProgramResult result =
      run_moewe(test::threads(2),
                shipped().run_recorded() + " --capacity-factor 0.5 --overflow error --output " + output);
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_EQ(test::read_file(output), before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(Failure, ToWriteIsToldInOneSentence) {
  for (const char* option : {" --output /dev/full", " --json /dev/full", " > /dev/full"}) {
    const ProgramResult result = test::run_moewe(shipped().run_recorded() + option);
    EXPECT_EQ(result.exit_code, 2) << option << "\n" << result.output;
    EXPECT_EQ(own_lines(result).size(), 1U) << option << "\n" << result.output;
  }
}

}  // namespace
}  // namespace moewe
