// The program as its users see it, on the shipped sample and, where $MOEWE_DATA is set, on the whole
// checkpoint.

#include "tests/support/program.hpp"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>

#include "placement/placement.hpp"
#include "runtime/safetensors.hpp"
#include "tests/support/temporary_folder.hpp"

namespace moewe {
namespace {

using test::ProgramResult;
using test::run_moewe;
using test::run_moewe_under_mpi;
using test::TemporaryFolder;

/// The checkpoint and recorded activations that a test runs on.
struct Sample {
  std::filesystem::path folder;

  std::string options() const {
    return "run --checkpoint " + folder.string() + " --input " +
           (folder / "activations.safetensors").string();
  }
};

Sample shipped() { return {test::sample_folder()}; }

/// Experts chosen by the first `num_tokens` recorded tokens of a layer, [num_tokens, 2].
std::vector<ExpertId> recorded_choice(const Sample& sample, std::size_t layer, std::size_t num_tokens) {
  const SafetensorsFile file(sample.folder / "activations.safetensors");
  const TensorView* ids = file.find("layers." + std::to_string(layer) + ".topk_ids");
  std::vector<ExpertId> experts(num_tokens * 2);
  std::memcpy(experts.data(), ids->data.data(), experts.size() * sizeof(ExpertId));
  return experts;
}

std::string hash_of(const ProgramResult& result) {
  EXPECT_EQ(result.exit_code, 0) << result.output;
  const std::size_t at = result.output.find("sha256 ");
  return at == std::string::npos ? "none" : result.output.substr(at, result.output.find('\n', at) - at);
}

void expect_one_hash(const Sample& sample, const std::vector<std::string>& token_counts) {
  for (const std::string& tokens : token_counts) {
    const std::string options = sample.options() + " --tokens " + tokens;
    const std::string expected = hash_of(run_moewe(options));
    for (const char* path : {"direct", "message"}) {
      for (const int ranks : {1, 2, 3, 4, 8}) {
        const std::string with_path = options + " --path " + path;
        EXPECT_EQ(hash_of(run_moewe(with_path + " --ranks " + std::to_string(ranks))), expected)
            << tokens << " tokens, " << path << ", " << ranks << " threads";
        EXPECT_EQ(hash_of(run_moewe_under_mpi(ranks, with_path)), expected)
            << tokens << " tokens, " << path << ", " << ranks << " processes";
      }
    }
  }
}

TEST(Program, GivesOneHashOnTheSample) { expect_one_hash(shipped(), {"512", "1", "0"}); }

TEST(Program, GivesOneHashOnTheWholeCheckpoint) {
  const char* data = std::getenv("MOEWE_DATA");
  if (data == nullptr) GTEST_SKIP() << "MOEWE_DATA is not set";
  expect_one_hash({std::filesystem::path(data) / "tiny-mixtral"}, {"2048", "1237", "3", "1", "0"});
}

void expect_reference(const Sample& sample, std::int64_t num_rows) {
  const TemporaryFolder folder;
  const ProgramResult result =
      run_moewe_under_mpi(4, sample.options() + " --json " + (folder / "json").string());
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const auto verify = test::read_json(folder / "json")["verify"];
  EXPECT_EQ(verify["compared_rows"], num_rows);
  EXPECT_EQ(verify["compared_ids"], num_rows);
  EXPECT_EQ(verify["mismatched"], 0);
  EXPECT_EQ(verify["near_ties"], 0);
  EXPECT_LE(verify["max_abs_err_over_rms"], 2e-5);
  EXPECT_GT(verify["max_abs_err"], 0);
  EXPECT_LE(verify["max_weight_err"], 1e-6);
}

TEST(Program, MatchesTheSamplesReference) { expect_reference(shipped(), 2 * 512); }

TEST(Program, MatchesTheWholeCheckpointsReference) {
  const char* data = std::getenv("MOEWE_DATA");
  if (data == nullptr) GTEST_SKIP() << "MOEWE_DATA is not set";
  expect_reference({std::filesystem::path(data) / "tiny-mixtral"}, 4 * 2048);
}

TEST(Program, FailsWhenResultsAreNotTheRecordedOnes) {
  const TemporaryFolder folder;
  std::filesystem::copy(test::sample_folder(), folder.path(), std::filesystem::copy_options::recursive);
  {
    // One recorded value of layer 1 becomes another.
    const SafetensorsFile file(folder / "activations.safetensors");
    const TensorView* output = file.find("layers.1.output");
    const auto offset = output->data.data() - file.tensors().at("layers.0.input").data.data();
    std::fstream bytes(folder / "activations.safetensors", std::ios::in | std::ios::out | std::ios::binary);
    std::uint64_t header = 0;
    bytes.read(reinterpret_cast<char*>(&header), 8);
    bytes.seekp(static_cast<std::streamoff>(8 + header) + offset);
    const float wrong = 1.0F;
    bytes.write(reinterpret_cast<const char*>(&wrong), 4);
  }
  for (const ProgramResult& result : {run_moewe(Sample{folder.path()}.options() + " --ranks 2"),
                                      run_moewe_under_mpi(2, Sample{folder.path()}.options())}) {
    EXPECT_EQ(result.exit_code, 1) << result.output;
    EXPECT_NE(result.output.find("FAILED"), std::string::npos) << result.output;
  }
}

TEST(Program, EachRankComputesWhatItsExpertsOwn) {
  const TemporaryFolder folder;
  const ProgramResult result =
      run_moewe_under_mpi(4, shipped().options() + " --steps 3 --json " + (folder / "json").string());
  ASSERT_EQ(result.exit_code, 0) << result.output;
  std::vector<std::int64_t> expected(4, 0);
  for (const std::size_t layer : {0U, 1U}) {
    for (const ExpertId expert : recorded_choice(shipped(), layer, 512)) expected[index(expert) * 4 / 8] += 3;
  }
  const auto ledger = test::read_json(folder / "json")["ledger"];
  EXPECT_EQ(ledger["computed_per_rank"].get<std::vector<std::int64_t>>(), expected);
  EXPECT_EQ(ledger["assigned"], 3 * 2 * 512 * 2);
  EXPECT_EQ(ledger["computed"], ledger["assigned"]);
  EXPECT_EQ(ledger["lost"], 0);
}

TEST(Program, ARankReadsOnlyItsOwnExperts) {
  constexpr int num_ranks = 4;
  const TemporaryFolder folder;
  std::string ranks;
  for (int rank = 0; rank < num_ranks; ++rank) {
    const auto own = folder / ("rank-" + std::to_string(rank));
    std::filesystem::copy(test::sample_folder(), own, std::filesystem::copy_options::recursive);
    const SafetensorsFile file(test::sample_folder() / "model.safetensors");
    std::fstream bytes(own / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
    std::uint64_t header = 0;
    bytes.read(reinterpret_cast<char*>(&header), 8);
    const std::byte* first = nullptr;
    for (const auto& [name, tensor] : file.tensors()) {
      if (first == nullptr || tensor.data.data() < first) first = tensor.data.data();
    }
    int num_overwritten = 0;
    for (const auto& [name, tensor] : file.tensors()) {
      std::size_t layer = 0;
      int expert = 0;
      if (std::sscanf(name.c_str(), "model.layers.%zu.block_sparse_moe.experts.%d.", &layer, &expert) != 2)
        continue;
      if (expert * num_ranks / 8 == rank) continue;
      bytes.seekp(static_cast<std::streamoff>(8 + header) + (tensor.data.data() - first));
      bytes << std::string(tensor.data.size(), '\xFF');  // NaN in bf16
      ++num_overwritten;
    }
    ASSERT_EQ(num_overwritten, 2 * 6 * 3);
    ranks += (rank == 0 ? "-n 1 " : " : -n 1 ") + std::string(std::getenv("MOEWE_PROGRAM")) +
             " run --checkpoint " + own.string() + " --input " + (own / "activations.safetensors").string();
  }
  const ProgramResult result = test::run_command(std::string(std::getenv("MOEWE_MPIEXEC")) + " " + ranks);
  EXPECT_EQ(hash_of(result), hash_of(run_moewe(shipped().options())));
}

TEST(Program, WritesTheSameOutputsOnAnyNumberOfRanks) {
  const TemporaryFolder folder;
  const std::string options = shipped().options() + " --tokens 333 --steps 2 --output ";
  EXPECT_EQ(run_moewe(options + (folder / "one").string()).exit_code, 0);
  EXPECT_EQ(run_moewe_under_mpi(3, options + (folder / "three").string()).exit_code, 0);
  const auto read = [&](const char* name) {
    std::ifstream file(folder / name, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_EQ(read("one"), read("three"));
  const SafetensorsFile outputs(folder / "three");
  const SafetensorsFile recorded(shipped().folder / "activations.safetensors");
  const TensorView* ids = outputs.find("layers.1.topk_ids");
  ASSERT_EQ(ids->shape, (std::vector<std::size_t>{333, 2}));
  EXPECT_EQ(std::memcmp(ids->data.data(), recorded.find("layers.1.topk_ids")->data.data(), ids->data.size()),
            0);
  EXPECT_EQ(outputs.find("layers.0.output")->shape, (std::vector<std::size_t>{333, 128}));
  EXPECT_EQ(outputs.find("layers.0.topk_weights")->dtype, "F32");
}

TEST(Program, GeneratedTokensDoNotDependOnTheNumberOfRanks) {
  const std::string options =
      "run --checkpoint " + test::sample_folder().string() + " --tokens 100 --steps 3 --seed 5";
  const std::string expected = hash_of(run_moewe(options));
  EXPECT_EQ(hash_of(run_moewe(options + " --ranks 3")), expected);
  EXPECT_EQ(hash_of(run_moewe_under_mpi(2, options)), expected);
  EXPECT_NE(hash_of(run_moewe(options + "0")), expected);
}

#ifdef MOEWE_SANITIZED
constexpr bool can_preload = false;
#else
constexpr bool can_preload = true;
#endif

std::string interposer() { return "LD_PRELOAD=" + std::string(std::getenv("MOEWE_INTERPOSER")); }

TEST(Program, MessagesCarryTheBytesOfTheFormula) {
  if (!can_preload) GTEST_SKIP() << "a sanitizer's runtime has to be loaded first";
  constexpr std::size_t num_tokens = 309, num_ranks = 4, row_bytes = 128 * 4;
  const TemporaryFolder folder;
  const ProgramResult result = run_moewe_under_mpi(
      num_ranks, shipped().options() + " --path message --tokens " + std::to_string(num_tokens),
      interposer() + " MOEWE_TEST_SENT=" + (folder / "sent").string());
  ASSERT_EQ(result.exit_code, 0) << result.output;

  enum Kind { counts, manifest, rows, outputs };
  std::map<std::tuple<std::size_t, std::size_t, int>, std::size_t> expected;  // by sender, receiver and kind
  for (const std::size_t layer : {0U, 1U}) {
    const std::vector<ExpertId> choice = recorded_choice(shipped(), layer, num_tokens);
    for (std::size_t source = 0; source < num_ranks; ++source) {
      for (std::size_t t = num_tokens * source / num_ranks; t < num_tokens * (source + 1) / num_ranks; ++t) {
        std::set<std::size_t> destinations;
        for (const std::size_t k : {0U, 1U}) {
          const std::size_t owner = index(choice[2 * t + k]) * num_ranks / 8;
          if (owner == source) continue;
          destinations.insert(owner);
          expected[{owner, source, outputs}] += row_bytes;
        }
        for (const std::size_t destination : destinations) expected[{source, destination, rows}] += row_bytes;
      }
    }
  }
  std::map<std::tuple<std::size_t, std::size_t, int>, std::size_t> sent;
  std::ifstream lines(folder / "sent");
  for (std::size_t from = 0, to = 0, kind = 0, bytes = 0; lines >> from >> to >> kind >> bytes;) {
    if (kind == rows || kind == outputs) sent[{from, to, static_cast<int>(kind)}] += bytes;
  }
  EXPECT_EQ(expected.size(), 2 * num_ranks * (num_ranks - 1));
  EXPECT_EQ(sent, expected);
}

TEST(Program, AFailingRankEndsTheJobAndIsNamed) {
  if (!can_preload) GTEST_SKIP() << "a sanitizer's runtime has to be loaded first";
  const ProgramResult result =
      run_moewe_under_mpi(4, shipped().options() + " --path message --steps 1000000",
                          interposer() + " MOEWE_TEST_FAIL_RANK=2 MOEWE_TEST_FAIL_CALL=200");
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_LT(result.seconds, 5);
  const std::size_t at = result.output.find("moewe: rank 2, step ");
  ASSERT_NE(at, std::string::npos) << result.output;
  const std::string line = result.output.substr(at, result.output.find('\n', at) - at);
  EXPECT_NE(line.find(", layer "), std::string::npos) << line;
  EXPECT_NE(line.find(", phase "), std::string::npos) << line;
  EXPECT_NE(line.find("MPI reported"), std::string::npos) << line;
}

TEST(Program, ThreadsDoNotChangeTheBits) {
  const std::string expected = hash_of(run_moewe(shipped().options()));
  for (const char* threads : {"2", "3", "4"}) {
    EXPECT_EQ(hash_of(run_moewe(shipped().options() + " --threads " + threads)), expected);
    EXPECT_EQ(hash_of(run_moewe(shipped().options() + " --ranks 2 --threads " + threads)), expected);
  }
}

TEST(Program, ARankThatStopsAnsweringEndsTheJobWithExitCode3) {
  const std::string program = std::getenv("MOEWE_PROGRAM");
  const std::string options = shipped().options() + " --steps 100000000 --timeout 2";
  // Rank 1 stops itself: a shell that sends the signal and then becomes the program.
  const ProgramResult result = test::run_command(
      std::string(std::getenv("MOEWE_MPIEXEC")) + " -n 1 " + program + " " + options +
      " : -n 1 sh -c '(sleep 2; kill -STOP $$; sleep 10; kill -CONT $$) > /dev/null 2>&1 & exec " + program +
      " " + options + "'");
  EXPECT_EQ(result.exit_code, 3) << result.output;
  EXPECT_NE(result.output.find("moewe: rank 0, step "), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("waited 2 s for "), std::string::npos) << result.output;
}

TEST(Program, SaysWhenRanksWereGivenDifferentCheckpoints) {
  const TemporaryFolder folder;
  std::filesystem::copy(test::sample_folder(), folder.path(), std::filesystem::copy_options::recursive);
  std::ifstream original(folder / "config.json");
  std::string config(std::istreambuf_iterator<char>(original), {});
  config.replace(config.find("\"num_experts_per_tok\": 2"), 24, "\"num_experts_per_tok\": 1");
  std::ofstream(folder / "config.json") << config;
  const std::string program = std::getenv("MOEWE_PROGRAM");
  const std::string tokens = " --tokens 8 ";
  const ProgramResult result =
      test::run_command(std::string(std::getenv("MOEWE_MPIEXEC")) + " -n 1 " + program +
                        " run --checkpoint " + test::sample_folder().string() + tokens + ": -n 1 " + program +
                        " run --checkpoint " + folder.path().string() + tokens);
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find("not those of rank 0's checkpoint"), std::string::npos) << result.output;
}

TEST(Program, RefusesToOverwriteWhatItReads) {
  const TemporaryFolder folder;
  std::filesystem::copy(test::sample_folder(), folder.path(), std::filesystem::copy_options::recursive);
  const auto size = std::filesystem::file_size(folder / "activations.safetensors");
  for (const char* option : {" --output ", " --json "}) {
    const ProgramResult result =
        run_moewe(Sample{folder.path()}.options() + option + (folder / "activations.safetensors").string());
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_EQ(std::filesystem::file_size(folder / "activations.safetensors"), size);
  }
}

/// Every line that the program itself printed.
std::vector<std::string> own_lines(const ProgramResult& result) {
  std::vector<std::string> lines;
  std::istringstream stream(result.output);
  for (std::string line; std::getline(stream, line);) {
    if (line.rfind("moewe: ", 0) == 0) lines.push_back(line);
  }
  return lines;
}

/// A checkpoint with a FIFO for its tensors, or with a configuration of larger sizes than the tensors have.
std::string config_only(const TemporaryFolder& folder, const std::string& name,
                        const std::string& make_fifo) {
  const auto checkpoint = folder / name;
  std::filesystem::create_directories(checkpoint);
  const auto tensors = checkpoint / "model.safetensors";
  std::ifstream original(test::sample_folder() / "config.json");
  std::string config(std::istreambuf_iterator<char>(original), {});
  if (!make_fifo.empty()) {
    EXPECT_EQ(test::run_command(make_fifo + tensors.string()).exit_code, 0);
  } else {
    std::filesystem::copy(test::sample_folder() / "model.safetensors", tensors);
    config.replace(config.find("\"hidden_size\": 128"), 18, "\"hidden_size\": 1048576");
  }
  std::ofstream(checkpoint / "config.json") << config;
  return checkpoint.string();
}

TEST(Program, AnswersBadInputWithOneSentenceAndExitCode2) {
  const TemporaryFolder folder;
  const std::string sample = test::sample_folder().string();
  const std::string input = " --input " + sample + "/activations.safetensors";
  std::filesystem::copy(test::sample_folder() / "config.json", folder / "config.json");
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "a command is missing"},
      {"walk", "'walk' is not a command"},
      {"run", "--checkpoint DIR is required"},
      {"run --checkpoint /no/such/folder --tokens 4",
       "/no/such/folder/config.json: No such file or directory"},
      {"run --checkpoint " + folder.path().string() + " --tokens 4",
       "model.safetensors: No such file or directory"},
      {"run --checkpoint " + sample + " --input /no/such/file", "/no/such/file: No such file or directory"},
      {"run --checkpoint " + sample + " --input " + sample + "/README.md", "README.md"},
      {"run --checkpoint " + sample + " --input " + sample + "/model.safetensors",
       "holds no tensor layers.N.input"},
      {"run --checkpoint " + sample + input + " --tokens 513",
       "has 512 tokens, fewer than the 513 asked for"},
      {"run --checkpoint " + sample + input + " --layers 2", "layer 2 was asked for"},
      {"run --checkpoint " + sample + " --tokens 4 --model mixtral-8x7b", "unrecognised option '--model'"},
      {"run --checkpoint " + sample + " --tokens 4 --output /no/such/folder/file", "cannot be written"},
      {"run --checkpoint " + sample + " --tokens 4 --json " + folder.path().string(), "Is a directory"},
      {"run --checkpoint " + config_only(folder, "fifo", "mkfifo ") + " --tokens 4", "not a file"},
      {"run --checkpoint " + config_only(folder, "large", "") + " --tokens 4",
       "has shape [8, 128] instead of"},
  };
  for (const auto& [arguments, part] : cases) {
    for (const ProgramResult& result : {run_moewe(arguments), run_moewe_under_mpi(2, arguments)}) {
      EXPECT_EQ(result.exit_code, 2) << arguments << "\n" << result.output;
      const std::vector<std::string> lines = own_lines(result);
      ASSERT_EQ(lines.size(), 1U) << arguments << "\n" << result.output;
      EXPECT_NE(lines[0].find(part), std::string::npos) << lines[0];
    }
  }
}

TEST(Program, SaysWhenRanksWereGivenDifferentOptions) {
  const std::string program = std::getenv("MOEWE_PROGRAM");
  const std::string options = shipped().options() + " --steps ";
  const ProgramResult result =
      test::run_command(std::string(std::getenv("MOEWE_MPIEXEC")) + " -n 1 " + program + " " + options +
                        "2 : -n 1 " + program + " " + options + "3");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  const std::vector<std::string> lines = own_lines(result);
  ASSERT_EQ(lines.size(), 1U) << result.output;
  EXPECT_NE(lines[0].find("rank 1: --steps 3 here, but --steps 2 on rank 0"), std::string::npos) << lines[0];
}

TEST(Program, RefusesThreadRanksUnderALauncher) {
  const ProgramResult result = run_moewe_under_mpi(2, shipped().options() + " --ranks 2");
  EXPECT_EQ(result.exit_code, 2) << result.output;
}

TEST(Program, PrintsHelpAndVersion) {
  EXPECT_NE(run_moewe("--help").output.find("execute the MoE layers"), std::string::npos);
  EXPECT_EQ(run_moewe("--version").exit_code, 0);
  const ProgramResult help = run_moewe("run --help");
  EXPECT_EQ(help.exit_code, 0);
  for (const char* option :
       {"--checkpoint", "--input", "--output", "--json", "--layers", "--tokens", "--steps", "--seed",
        "--dtype", "--placement", "--path", "--verify", "--threads", "--timeout", "--ranks"}) {
    EXPECT_NE(help.output.find(option), std::string::npos) << option;
  }
  EXPECT_EQ(run_moewe_under_mpi(3, "run --help").output, help.output);
}

}  // namespace
}  // namespace moewe
