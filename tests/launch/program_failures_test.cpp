// A run that goes wrong on its way ends, says where, and leaves nothing that looks like a result.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_files.hpp"

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
      run_moewe(processes(4), shipped().run_recorded() + " --path message --calibrate off --steps 1000000",
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
  EXPECT_NE(result.output.find("moewe: rank 0 on "), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("moewe: a rank has waited for 2 s:\n"), std::string::npos) << result.output;
}

/// Starts the program in the background, does something once it has begun to write to `folder`, which is
/// before its first step, and waits for its end.
ProgramResult interfere(const std::filesystem::path& folder, const std::string& run, const std::string& act) {
  return test::run_command(fmt::format(
      "{{ {0} {1} --output {2}/output & pid=$!; while [ -z \"$(ls -A {2})\" ]; do sleep 0.05; done; "
      "sleep 0.3; {3}; "
      "wait $pid; }}",
      test::program(), run, folder.string(), act));
}

TEST(Failure, ThatKillsTheProgramLeavesNoResults) {
  const TemporaryFolder folder;
  const ProgramResult result = interfere(
      folder.path(),
      shipped().run_recorded() + " --ranks 2 --steps 100000000 --json " + (folder / "json").string(),
      "kill -KILL $pid");
  EXPECT_EQ(result.exit_code, 128 + 9) << result.output;
  EXPECT_FALSE(std::filesystem::exists(folder / "output"));
  EXPECT_FALSE(std::filesystem::exists(folder / "json"));
}

TEST(Failure, OfAnInputThatBecomesShorterIsTold) {
  const TemporaryFolder folder, results;
  const test::Sample copy{folder.path(), 2, 512, 8, 2};
  test::copy_checkpoint(shipped().folder, copy.folder);
  const ProgramResult result = interfere(results.path(), copy.run_recorded() + " --ranks 2 --steps 100000000",
                                         "truncate -s 1000 " + copy.activations().string());
  EXPECT_EQ(result.exit_code, 2) << result.output;
  const bool is_kept = std::filesystem::exists(results / "output.kept");  // of the steps before
  ASSERT_EQ(own_lines(result).size(), is_kept ? 2U : 1U) << result.output;
  EXPECT_NE(own_lines(result)[0].find("activations.safetensors: "), std::string::npos) << result.output;
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(results.path()), {}), is_kept ? 1 : 0);
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
  const std::string run = test::program() + " " + shipped().run_recorded();
  for (const char* option : {" --output /dev/full", " --json /dev/full", " > /dev/full"}) {
    const ProgramResult result = test::run_command(fmt::format("({}{})", run, option));
    EXPECT_EQ(result.exit_code, 2) << option << "\n" << result.output;
    EXPECT_EQ(own_lines(result).size(), 1U) << option << "\n" << result.output;
  }
  for (const char* command : {" --help", " --version", " run --help"}) {
    const ProgramResult result =
        test::run_command(fmt::format("({}{} > /dev/full)", test::program(), command));
    EXPECT_EQ(result.exit_code, 2) << command << "\n" << result.output;
    EXPECT_EQ(own_lines(result).size(), 1U) << command << "\n" << result.output;
  }
}

TEST(Failure, ToWriteIsToldWhateverIsPrintedFirst) {
  const std::string run = test::program() + " " + shipped().run_recorded();
  std::vector<std::string> commands{fmt::format("{} --help", test::program()), run, run + " --ranks 2"};
  for (const std::string& command : commands) {  // a reader that has left
    const ProgramResult result =
        test::run_command(fmt::format("{{ {{ sleep 0.2; {}; echo code $? >&2; }} | true; }}", command));
    EXPECT_NE(result.output.find("standard output cannot be written"), std::string::npos) << result.output;
    EXPECT_EQ(own_lines(result).size(), 1U) << result.output;
    EXPECT_NE(result.output.find("code 2\n"), std::string::npos) << command << "\n" << result.output;
  }
  if (interposer().empty()) GTEST_SKIP() << "a sanitizer's runtime has to be loaded first";
  const ProgramResult result = test::run_command(fmt::format("(stdbuf -o0 {} --steps 2 > /dev/full)", run));
  EXPECT_EQ(result.exit_code, 2) << result.output;
  ASSERT_EQ(own_lines(result).size(), 1U) << result.output;
  EXPECT_NE(own_lines(result)[0].find("standard output cannot be written"), std::string::npos);
}

TEST(Failure, HasItsExitCodeWhereItCannotBeTold) {
  for (const char* arguments :
       {" run --checkpoint /no/such/folder --tokens 1", " walk", " run --model deepseek-v3 --tokens 1"}) {
    const ProgramResult result =
        test::run_command(fmt::format("({}{} 2> /dev/full)", test::program(), arguments));
    EXPECT_EQ(result.exit_code, 2) << arguments << "\n" << result.output;
  }
}

}  // namespace
}  // namespace moewe
