// Whatever the names of files are, results go where they lead, whole, and nothing else is touched.

#include <algorithm>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_files.hpp"

namespace moewe {
namespace {

namespace fs = std::filesystem;
using test::expect_refusals;
using test::own_lines;
using test::ProgramResult;
using test::run_moewe;
using test::shipped;
using test::TemporaryFolder;
using test::threads;

std::vector<std::string> entries(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

/// What is kept of a run's steps is there once the first is complete.
bool is_nothing_left_but_steps(const fs::path& folder) {
  const std::vector<std::string> names = entries(folder);
  return names.empty() || names == std::vector<std::string>{"output.kept"};
}

TEST(Files, OfTwoNamesAreNotWrittenTwice) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "deep");
  fs::create_directory_symlink("deep", folder / "alias");
  fs::create_symlink("deep/new", folder / "dangling");
  test::write_bytes(folder / "deep" / "old", "old");
  fs::create_hard_link(folder / "deep" / "old", folder / "hard");
  const auto both = [&](const char* output, const char* json) {
    return test::Refusal{shipped().run() + " --tokens 4 --output " + (folder / output).string() + " --json " +
                             (folder / json).string(),
                         "--output and --json name the same file"};
  };
  expect_refusals({both("deep/new", "deep/./new"), both("deep/new", "alias/new"),
                   both("dangling", "deep/new"), both("hard", "deep/old"),
                   both("deep//new", "deep/../deep/new")});
  EXPECT_EQ(entries(folder / "deep"), std::vector<std::string>{"old"});
  EXPECT_EQ(test::read_file(folder / "hard"), "old");
}

TEST(Files, AreNoPipesNorCircles) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  fs::create_symlink("pipe", folder / "link");
  fs::create_symlink("circle", folder / "circle");
  const std::string run = shipped().run() + " --tokens 4";
  std::vector<test::Refusal> refusals;
  for (const char* option : {" --output ", " --json "}) {
    for (const char* name : {"pipe", "link"}) {
      refusals.push_back(
          {run + option + (folder / name).string(), "neither a regular file nor a character device"});
    }
    refusals.push_back({run + option + (folder / "circle").string(), "Too many levels of symbolic links"});
  }
  expect_refusals(refusals);
  EXPECT_EQ(entries(folder.path()), (std::vector<std::string>{"circle", "link", "pipe"}));
}

TEST(Files, AreWrittenWhereLinksLead) {
  const TemporaryFolder folder;
  const std::string run = shipped().run() + " --tokens 4 --output ";
  fs::create_directory(folder / "deep");
  fs::create_symlink("deep/output", folder / "output");
  fs::create_symlink("deep/json", folder / "json");
  test::write_bytes(folder / "deep" / "output", "old");
  const std::string both = (folder / "output").string() + " --json " + (folder / "json").string();
  ASSERT_EQ(run_moewe(run + both).exit_code, 0);
  ASSERT_EQ(run_moewe(run + (folder / "plain").string()).exit_code, 0);
  EXPECT_EQ(test::read_file(folder / "deep" / "output"), test::read_file(folder / "plain"));
  EXPECT_EQ(test::read_json(folder / "deep" / "json")["tokens"], 4);
  EXPECT_EQ(entries(folder / "deep"), (std::vector<std::string>{"json", "output"}));
  EXPECT_TRUE(fs::is_symlink(folder / "output"));
  EXPECT_TRUE(fs::is_symlink(folder / "json"));
}

/// As /dev/stdout is, but harmless to lose.
TEST(Files, MayBeStandardOutput) {
  const TemporaryFolder folder;
  fs::create_symlink("/proc/self/fd/1", folder / "stdout");
  const std::string run = fmt::format("{} {} --tokens 4 --json {}", test::program(), shipped().run(),
                                      (folder / "stdout").string());
  const std::string file = (folder / "file").string();
  const ProgramResult redirected = test::run_command(fmt::format("({} > {})", run, file));
  EXPECT_EQ(redirected.exit_code, 0) << redirected.output;
  const ProgramResult piped = test::run_command(run);
  EXPECT_EQ(piped.exit_code, 0) << piped.output;
  for (const std::string& text : {test::read_file(file), piped.output}) {
    const std::size_t json = text.find("\n{");
    ASSERT_NE(json, std::string::npos) << text;
    EXPECT_EQ(nlohmann::json::parse(text.substr(json))["tokens"], 4);
    EXPECT_LT(text.find("  sha256"), json) << text;
  }
  EXPECT_EQ(entries(folder.path()), (std::vector<std::string>{"file", "stdout"}));
}

TEST(Files, MayHaveLongNames) {
  const TemporaryFolder folder;
  const std::string name(250, 'x');
  const ProgramResult result =
      run_moewe(shipped().run() + " --tokens 4 --output " + (folder / name).string());
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(entries(folder.path()), std::vector<std::string>{name});
}

TEST(Files, MayHaveNamesThatAreNoText) {
  const TemporaryFolder folder;
  const std::string ids("\0\1\2\3\4\5\6\7", 8);
  const fs::path trace = folder / "tr\xff";
  test::write_bytes(trace, test::safetensors_bytes({{"topk_ids", "U8", {1, 2, 2, 2}, ids}}));
  const auto json = test::results_of(threads(2), shipped().run() + " --routing trace:" + trace.string());
  EXPECT_EQ(json["routing"], "trace:" + (folder / "tr\xef\xbf\xbd").string());
}

TEST(Files, ThatAreUnfinishedAreRemovedByWhatEndsTheProgram) {
  for (const auto& [name, number] : {std::pair("TERM", 15), std::pair("HUP", 1), std::pair("INT", 2)}) {
    const TemporaryFolder folder;
    // A shell lets what it starts in the background ignore SIGINT; another program in between does not.
    const std::string run = fmt::format(
        "{0} {1} --ranks 2 --steps 100000000 --json {2}/json --timeline {2}/timeline --output {2}/output",
        test::program(), shipped().run_recorded(), folder.path().string());
    const ProgramResult result = test::run_command(fmt::format(
        "{{ env --default-signal=INT {0} & pid=$!; "
        "while [ $(ls -A {1} | wc -l) -lt 4 ]; do sleep 0.05; done; kill -{2} $pid; wait $pid; }}",
        run, folder.path().string(), name));
    EXPECT_EQ(result.exit_code, 128 + number) << name << "\n" << result.output;
    EXPECT_EQ(own_lines(result).size(), entries(folder.path()).size()) << result.output;
    EXPECT_TRUE(is_nothing_left_but_steps(folder.path())) << name;
  }
}

TEST(Files, ThatAreUnfinishedAreRemovedWhereAnotherRankFails) {
  if (test::interposer().empty()) GTEST_SKIP() << "a sanitizer's runtime has to be loaded first";
  for (const char* rank : {"0", "1"}) {
    const TemporaryFolder folder;
    const ProgramResult result =
        run_moewe(test::processes(2),
                  shipped().run_recorded() + " --path message --calibrate off --steps 1000000 --output " +
                      (folder / "output").string(),
                  test::interposer() + " MOEWE_TEST_FAIL_CALL=200 MOEWE_TEST_FAIL_RANK=" + rank);
    EXPECT_EQ(result.exit_code, 1) << result.output;
    EXPECT_TRUE(is_nothing_left_but_steps(folder.path())) << rank;
  }
}

}  // namespace
}  // namespace moewe
