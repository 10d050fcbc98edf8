// Arguments that cannot be used are answered with one sentence and exit code 2.

#include <gtest/gtest.h>

#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_files.hpp"

namespace moewe {
namespace {

using test::expect_refusals;
using test::ProgramResult;
using test::run_moewe;
using test::shipped;
using test::TemporaryFolder;

TEST(Refusal, OfWhatIsNoCommand) {
  expect_refusals({
      {"", "a command is missing"},
      {"walk", "'walk' is not a command"},
      {"run", "either --checkpoint DIR or --model NAME is required"},
      {"run 8", "'8' belongs to no option"},
      {"run --no-such-option", "--no-such-option"},
  });
}

TEST(Refusal, OfOptionsThatContradictEachOther) {
  const std::string sample = shipped().run();
  const std::string both = sample + " --tokens 4 --tokens-per-rank 2";
  expect_refusals({
      {sample + " --tokens 4 --model mixtral-8x7b", "--checkpoint and --model contradict each other"},
      {sample + " --tokens 4 --hidden 64", "--hidden needs --model custom"},
      {"run --model mixtral-8x7b --tokens 4 --experts 8", "--experts needs --model custom"},
      {"run --model mixtral-8x7b --tokens 4 --two-matrix", "--two-matrix needs --model custom"},
      {both, "--tokens and --tokens-per-rank contradict each other"},
      {sample + " --tokens 4 --overflow drop-last", "--overflow needs --capacity-factor"},
      {sample + " --tokens 4 --capacity-rule mesh", "--capacity-rule needs --capacity-factor"},
      {sample + " --tokens 4 --renormalise", "--renormalise needs --capacity-factor"},
      {sample, "one of --input FILE, --tokens N and --tokens-per-rank N is required"},
      {sample + " --tokens 4 --routing uniform --capacity-factor 1 --overflow next-choice", "next-choice"},
  });
}

TEST(Refusal, OfUnknownValues) {
  const std::string sample = shipped().run() + " --tokens 4 ";
  expect_refusals({
      {"run --tokens 4 --model mixtral", "mixtral-8x7b"},
      {sample + "--dtype f16", "choose from: f32, bf16"},
      {sample + "--combine quick", "choose from: reproducible, fast"},
      {sample + "--capacity-factor 1 --overflow drop", "choose from: drop-last"},
      {sample + "--capacity-factor 1 --capacity-rule tutel", "choose from: megatron"},
      {sample + "--capacity-factor 0", "--capacity-factor must be a number above 0"},
      {sample + "--capacity-factor nan", "--capacity-factor must be a number above 0"},
      {sample + "--memory-limit 2GiBi", "--memory-limit must be a size"},
      {sample + "--memory-limit -1", "--memory-limit"},
      {sample + "--memory-limit 0", "--memory-limit must be a size"},
      {sample + "--placement spread", "spread: No such file or directory"},
      {sample + "--routing zipfian:1", "zipfian"},
      {sample + "--routing zipf:-1", "zipf"},
      {sample + "--routing hot:1", "hot:1"},
      {sample + "--routing hot:9", "hot:9"},
      {sample + "--routing trace:", "--routing trace:FILE needs a file"},
      {sample + "--routing zipf:x", "--routing zipf:x: a number above 0"},
      {"run --tokens 4 --model gpt-2", "--model gpt-2 is not available; choose from: mixtral-8x7b, "},
      {sample + "--layers 0,0", "each layer once"},
      {sample + "--layers 7", "layer 7"},
      {sample + "--tokens 5", "--tokens"},
      {sample + "--path two-levels", "choose from: auto, direct, message, two-level"},
      {sample + "--path two-level", "path two-level cannot be used: all ranks are on one node"},
      {"run --model deepseek-v3 --layers 0 --tokens 4", "layer 0 is no MoE layer; these are 3 to 60"},
  });
}

TEST(Refusal, OfCustomModelsThatCannotBe) {
  const std::string custom = "run --tokens 4 --model custom ";
  expect_refusals({
      {custom + "--hidden 8 --intermediate 8 --experts 4", "--model custom needs --topk N"},
      {custom + "--hidden 0 --intermediate 8 --experts 4 --topk 2", "--hidden must be a whole number from 1"},
      {custom + "--hidden 8 --intermediate 8 --experts 4 --topk 5", "--model custom"},
      {custom + "--hidden 8 --intermediate 8 --experts 4 --topk 2 --activation tanh", "choose from: silu"},
      {custom + "--hidden 1048576 --intermediate 1048576 --experts 1048576 --topk 2", "--model custom"},
  });
}

TEST(Refusal, OfFilesThatCannotBeWritten) {
  const TemporaryFolder folder;
  const std::string tokens = shipped().run() + " --tokens 4 ";
  const std::string file = (folder / "file").string();
  expect_refusals({
      {tokens + "--output /no/such/folder/file", "/no/such/folder/file: cannot be written"},
      {tokens + "--json /no/such/folder/file", "/no/such/folder/file: cannot be written"},
      {tokens + "--json " + folder.path().string(), "Is a directory"},
      {tokens + "--output " + folder.path().string(), "Is a directory"},
      {tokens + "--output " + file + " --json " + file, "name the same file"},
  });
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Refusal, OfOverwritingWhatIsRead) {
  const TemporaryFolder folder;
  test::copy_checkpoint(shipped().folder, folder.path());
  std::filesystem::create_hard_link(folder / "model.safetensors", folder / "link");
  std::filesystem::create_symlink(folder / "config.json", folder / "symlink");
  const std::string run = "run --checkpoint " + folder.path().string() + " --input " +
                          (folder / "activations.safetensors").string();
  const std::string trace = (folder / "trace").string();
  test::write_bytes(trace,
                    test::safetensors_bytes({{"topk_ids", "U8", {1, 2, 1, 2}, std::string("\0\1\2\3", 4)}}));
  const auto before = [&] { return test::read_file(folder / "model.safetensors") + test::read_file(trace); };
  const std::string bytes = before();
  std::vector<test::Refusal> refusals{
      {run + " --tokens 1 --routing trace:" + trace + " --output " + trace, "is read by this run"}};
  for (const char* option : {" --output ", " --json "}) {
    for (const char* file :
         {"activations.safetensors", "model.safetensors", "config.json", "link", "symlink"}) {
      refusals.push_back(
          {run + option + (folder / file).string(), "is read by this run and cannot be written"});
    }
  }
  expect_refusals(refusals);
  EXPECT_EQ(before(), bytes);
}

TEST(Refusal, OfThreadRanksUnderALauncher) {
  const ProgramResult result = test::run_moewe_under_mpi(2, shipped().run_recorded() + " --ranks 2");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  ASSERT_EQ(test::own_lines(result).size(), 1U) << result.output;
  EXPECT_NE(test::own_lines(result)[0].find("--ranks"), std::string::npos) << result.output;
}

/// Two processes with arguments of their own.
ProgramResult run_two(const std::string& first, const std::string& second) {
  return test::run_command(test::mpiexec() + " -n 1 " + test::program() + " " + first + " : -n 1 " +
                           test::program() + " " + second);
}

TEST(Refusal, OfOptionsThatDifferBetweenRanks) {
  const std::string run = shipped().run_recorded();
  const std::vector<std::pair<std::string, std::string>> pairs{
      {" --steps 2", " --steps 3"},
      {" --dtype f32", " --dtype bf16"},
      {" --seed 0", " --seed 1"},
      {" --combine reproducible", " --combine fast"},
      {" --capacity-factor 1", " --capacity-factor 2"},
      {" --memory-limit 20000000", " --memory-limit 30000000"},
      {"", " --json FILE"},
      {" --routing uniform", " --routing zipf:1"}};
  for (const auto& [first, second] : pairs) {
    const ProgramResult result = run_two(run + first, run + second);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    const auto lines = test::own_lines(result);
    ASSERT_EQ(lines.size(), 1U) << result.output;
    EXPECT_NE(lines[0].find("rank 1:" + second), std::string::npos) << lines[0];
    EXPECT_NE(lines[0].find("on rank 0; options other than paths and --threads must agree"),
              std::string::npos)
        << lines[0];
  }
}

TEST(Refusal, OfNumbersOfThreadsThatAreNone) {
  const std::string run = shipped().run() + " --tokens 4";
  for (const char* number : {"abc", "0", "-3", "99999", "2x", "99999999999999999999"}) {
    const std::string environment = "OMP_NUM_THREADS=" + std::string(number);
    for (const test::Ranks ranks : {test::threads(2), test::processes(2)}) {
      const ProgramResult result = run_moewe(ranks, run, environment);
      EXPECT_EQ(result.exit_code, 2) << number << "\n" << result.output;
      ASSERT_EQ(test::own_lines(result).size(), 1U) << number << "\n" << result.output;
      EXPECT_NE(
          test::own_lines(result)[0].find("OMP_NUM_THREADS must be a whole number from 1 to 1024, not '" +
                                          std::string(number) + "'"),
          std::string::npos)
          << result.output;
    }
    EXPECT_EQ(run_moewe(run + " --threads 1", environment).exit_code, 0) << number;
  }
}

TEST(Refusal, IsToldWhateverAnEarlierLauncherLeft) {
  for (const char* left : {"OMPI_COMM_WORLD_RANK=1", "PMIX_RANK=1", "PMI_RANK=3", "PMI_RANK=x PMI_SIZE=2"}) {
    const ProgramResult refused = run_moewe("run --no-such-option 3", left);
    EXPECT_EQ(refused.exit_code, 2) << left << "\n" << refused.output;
    EXPECT_EQ(test::own_lines(refused).size(), 1U) << left << "\n" << refused.output;
    for (const char* asked_for : {"--version", "--help", "run --help"}) {
      EXPECT_EQ(run_moewe(asked_for, left).output, run_moewe(asked_for).output) << left;
    }
    EXPECT_NE(run_moewe("--version", left).output, "") << left;
  }
}

TEST(Refusal, OfOptionsThatOneRankAloneCannotRead) {
  const ProgramResult result = run_two(shipped().run_recorded(), shipped().run_recorded() + " --steps 0");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  ASSERT_EQ(test::own_lines(result).size(), 1U) << result.output;
  EXPECT_NE(test::own_lines(result)[0].find("--steps must be a whole number"), std::string::npos)
      << result.output;
}

TEST(Refusal, OfCheckpointsThatDifferBetweenRanks) {
  const TemporaryFolder folder;
  test::copy_checkpoint(shipped().folder, folder.path());
  std::string config = test::read_file(folder / "config.json");
  config.replace(config.find("\"num_experts_per_tok\": 2"), 24, "\"num_experts_per_tok\": 1");
  test::write_bytes(folder / "config.json", config);
  const ProgramResult result =
      run_two(shipped().run() + " --tokens 8", "run --checkpoint " + folder.path().string() + " --tokens 8");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  ASSERT_EQ(test::own_lines(result).size(), 1U) << result.output;
  EXPECT_NE(test::own_lines(result)[0].find("not those of rank 0's checkpoint"), std::string::npos)
      << result.output;
}

}  // namespace
}  // namespace moewe
