// The program as its users see it, on the shipped sample and, where $MOEWE_DATA is set, on whole checkpoints:
// what it computes is what was recorded, and it says what it did.

#include "tests/support/program.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_files.hpp"

namespace moewe {
namespace {

using test::processes;
using test::ProgramResult;
using test::results_of;
using test::run_moewe;
using test::Sample;
using test::shipped;
using test::TemporaryFolder;
using test::threads;

void expect_reference(const Sample& sample, const std::string& dtype) {
  const auto json = results_of(processes(4), sample.run_recorded() + " --dtype " + dtype);
  const std::size_t num_rows = sample.num_layers * sample.num_tokens;
  EXPECT_EQ(json["dtype"], dtype);
  const auto& verify = json["verify"];
  EXPECT_EQ(verify["compared_rows"], num_rows);
  EXPECT_EQ(verify["compared_ids"], num_rows);
  EXPECT_EQ(verify["mismatched"], 0);
  EXPECT_EQ(verify["not_finite"], 0);
  EXPECT_EQ(verify["near_ties"], verify["near_ties_listed"].size());
  EXPECT_LE(verify["max_abs_err_over_rms"], dtype == "f32" ? 2e-5 : 8e-2);
  EXPECT_LE(verify["rms_err_over_rms"], dtype == "f32" ? 2e-5 : 3e-3);
  EXPECT_GT(verify["max_abs_err"], 0);
  EXPECT_LE(verify["max_weight_err"], 1e-6);
}

TEST(Program, MatchesTheReferenceInF32) {
  for (const Sample& sample : test::samples()) expect_reference(sample, "f32");
}

TEST(Program, MatchesTheReferenceInBf16) {
  for (const Sample& sample : test::samples()) expect_reference(sample, "bf16");
}

TEST(Program, FailsWhenResultsAreNotTheRecordedOnes) {
  const TemporaryFolder folder;
  test::copy_checkpoint(shipped().folder, folder.path());
  test::edit_tensors(folder / "activations.safetensors", [](auto& tensors) {
    const float wrong = 100.0F;
    std::memcpy(test::find_tensor(tensors, "layers.1.output").bytes.data(), &wrong, sizeof wrong);
  });
  for (const char* dtype : {"f32", "bf16"}) {
    const std::string options = "run --checkpoint " + folder.path().string() + " --input " +
                                (folder / "activations.safetensors").string() + " --dtype " + dtype;
    for (const test::Ranks ranks : {threads(2), processes(2)}) {
      const auto json = results_of(ranks, options, "", 1);
      EXPECT_GT(json["verify"]["max_abs_err"], 50);
      const ProgramResult result = run_moewe(ranks, options);
      EXPECT_NE(result.output.find("FAILED: max |error| / RMS "), std::string::npos) << result.output;
      ASSERT_EQ(test::own_lines(result).size(), 1U) << result.output;
      EXPECT_EQ(test::own_lines(result)[0].rfind("moewe: verification failed: max |error| / RMS ", 0), 0U)
          << result.output;
    }
  }
}

TEST(Program, FailsWhenOtherExpertsAreChosenThanRecorded) {
  const TemporaryFolder folder;
  test::copy_checkpoint(shipped().folder, folder.path());
  test::edit_tensors(folder / "activations.safetensors", [](auto& tensors) {
    auto& ids = test::find_tensor(tensors, "layers.0.topk_ids").bytes;
    std::swap_ranges(ids.begin() + 8 * 100, ids.begin() + 8 * 100 + 4, ids.begin() + 8 * 100 + 4);
  });
  const auto json = results_of(threads(2),
                               "run --checkpoint " + folder.path().string() + " --input " +
                                   (folder / "activations.safetensors").string(),
                               "", 1);
  EXPECT_EQ(json["verify"]["mismatched"], 1);
  EXPECT_EQ(json["verify"]["near_ties"], 0);
}

TEST(Program, SaysThatResultsAreNotFinite) {
  const TemporaryFolder folder;
  test::copy_checkpoint(shipped().folder, folder.path());
  test::edit_tensors(folder / "model.safetensors", [](auto& tensors) {
    for (const char* matrix : {"w2", "w3"}) {  // the largest number of bf16: a product of two overflows
      const std::string name = "model.layers.1.block_sparse_moe.experts.3." + std::string(matrix) + ".weight";
      std::string& bytes = test::find_tensor(tensors, name).bytes;
      bytes.assign(bytes.size(), '\x7f');
    }
  });
  const std::string told = "values of the results are not finite, first in layer 1";
  for (const test::Ranks ranks : {threads(3), processes(2)}) {
    const ProgramResult result = run_moewe(ranks, "run --tokens 64 --checkpoint " + folder.path().string());
    EXPECT_EQ(result.exit_code, 1) << result.output;
    EXPECT_NE(result.output.find("FAILED: "), std::string::npos) << result.output;
    ASSERT_EQ(test::own_lines(result).size(), 1U) << result.output;
    EXPECT_NE(test::own_lines(result)[0].find("verification failed: "), std::string::npos) << result.output;
    EXPECT_NE(test::own_lines(result)[0].find(told), std::string::npos) << result.output;
  }
}

TEST(Program, SaysInJsonWhatRan) {
  const auto json = results_of(
      processes(3), shipped().run_recorded() + " --tokens 100 --steps 3 --seed 9 --layers 1 --path message");
  for (const char* field :
       {"format",     "ranks",  "nodes",     "device",  "isa",      "matmul_rows",   "threads",
        "model",      "dtype",  "combine",   "routing", "capacity", "layers",        "tokens",
        "steps",      "seed",   "exchange",  "ledger",  "overflow", "output_sha256", "time_s",
        "throughput", "memory", "imbalance", "verify"}) {
    EXPECT_TRUE(json.contains(field)) << field;
  }
  EXPECT_EQ(json["model"], "mixtral");
  EXPECT_EQ(json["layers"], (std::vector<int>{1}));
  EXPECT_EQ(json["tokens"], 100);
  EXPECT_EQ(json["steps"], 3);
  EXPECT_EQ(json["seed"], 9);
  EXPECT_EQ(json["threads"], 1);
  EXPECT_EQ(json["overflow"].size(), 0U);
  EXPECT_EQ(json["memory"]["rounds"], 1);
  EXPECT_EQ(json["verify"]["compared_rows"], 3 * 100);
  ASSERT_EQ(json["exchange"].size(), 9U);
  for (const auto& pair : json["exchange"]) {
    EXPECT_EQ(pair["path"], pair["from"] == pair["to"] ? "local" : "message");
  }
  const auto& step = json["time_s"]["step"];
  EXPECT_GT(step["p50"], 0);
  EXPECT_LE(step["p50"], step["p90"]);
  EXPECT_LE(step["p90"], step["p99"]);
  EXPECT_LE(step["p99"], step["max"]);
}

TEST(Program, EachRankComputesWhatItsExpertsOwn) {
  for (const Sample& sample : test::samples()) {
    const auto ledger = results_of(processes(4), sample.run_recorded() + " --steps 3")["ledger"];
    std::vector<std::int64_t> expected(4, 0);
    for (std::size_t layer = 0; layer < sample.num_layers; ++layer) {
      for (const std::int32_t expert : test::recorded_choice(sample, layer, sample.num_tokens)) {
        expected[static_cast<std::size_t>(expert) * 4 / sample.num_experts] += 3;
      }
    }
    EXPECT_EQ(ledger["computed_per_rank"].get<std::vector<std::int64_t>>(), expected);
    EXPECT_EQ(ledger["assigned"], 3 * sample.num_layers * sample.num_tokens * sample.top_k);
    EXPECT_EQ(ledger["computed"], ledger["assigned"]);
    EXPECT_EQ(ledger["lost"], 0);
  }
}

/// Makes what is not in `rank`'s experts NaN. How many tensors that were.
int spoil_experts_of_others(const std::filesystem::path& file, int rank, int num_ranks) {
  int num_spoilt = 0;
  test::edit_tensors(file, [&](auto& tensors) {
    for (auto& tensor : tensors) {
      std::size_t layer = 0;
      int expert = 0;
      const bool is_expert = std::sscanf(tensor.name.c_str(), "model.layers.%zu.block_sparse_moe.experts.%d.",
                                         &layer, &expert) == 2;
      if (!is_expert || expert * num_ranks / 8 == rank) continue;
      tensor.bytes.assign(tensor.bytes.size(), '\xFF');
      ++num_spoilt;
    }
  });
  return num_spoilt;
}

TEST(Program, ARankReadsOnlyItsOwnExperts) {
  constexpr int num_ranks = 4;
  const TemporaryFolder folder;
  std::string ranks;
  for (int rank = 0; rank < num_ranks; ++rank) {
    const Sample own{folder / ("rank-" + std::to_string(rank)), 2, 512, 8, 2};
    test::copy_checkpoint(shipped().folder, own.folder);
    ASSERT_EQ(spoil_experts_of_others(own.folder / "model.safetensors", rank, num_ranks), 2 * 6 * 3);
    ranks += (rank == 0 ? "-n 1 " : " : -n 1 ") + test::program() + " " + own.run_recorded();
  }
  const ProgramResult result = test::run_command(test::mpiexec() + " " + ranks);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find(test::hash_of(threads(1), shipped().run_recorded())), std::string::npos)
      << result.output;
}

TEST(Program, WritesTheSameOutputsOnAnyNumberOfRanks) {
  const TemporaryFolder folder;
  const std::string options = shipped().run_recorded() + " --tokens 333 --steps 2 --output ";
  EXPECT_EQ(run_moewe(options + (folder / "one").string()).exit_code, 0);
  EXPECT_EQ(run_moewe(processes(3), options + (folder / "three").string()).exit_code, 0);
  EXPECT_EQ(test::read_file(folder / "one"), test::read_file(folder / "three"));
  const auto outputs = test::read_tensors(folder / "three");
  const auto recorded = test::read_tensors(shipped().activations());
  ASSERT_EQ(outputs.size(), 6U);
  for (const char* name : {"layers.0.topk_ids", "layers.1.topk_ids"}) {
    const auto& ids = test::find_tensor(outputs, name);
    EXPECT_EQ(ids.dtype, "I32");
    EXPECT_EQ(ids.shape, (std::vector<std::size_t>{333, 2}));
    EXPECT_EQ(ids.bytes, test::find_tensor(recorded, name).bytes.substr(0, ids.bytes.size()));
  }
  EXPECT_EQ(test::find_tensor(outputs, "layers.0.output").shape, (std::vector<std::size_t>{333, 128}));
  EXPECT_EQ(test::find_tensor(outputs, "layers.0.topk_weights").dtype, "F32");
}

TEST(Program, OutputsAreAReferenceForTheNextRun) {
  const TemporaryFolder folder;
  ASSERT_EQ(
      run_moewe(processes(2), shipped().run_recorded() + " --output " + (folder / "out").string()).exit_code,
      0);
  auto tensors = test::read_tensors(folder / "out");
  for (const auto& tensor : test::read_tensors(shipped().activations())) {
    if (tensor.name.find(".input") != std::string::npos) tensors.push_back(tensor);
  }
  test::write_bytes(folder / "in", test::safetensors_bytes(tensors));
  const auto verify =
      results_of(threads(3), shipped().run() + " --input " + (folder / "in").string())["verify"];
  EXPECT_EQ(verify["compared_rows"], 1024);
  EXPECT_EQ(verify["max_abs_err"], 0);
  EXPECT_EQ(verify["max_weight_err"], 0);
}

TEST(Program, PrintsHelpAndVersion) {
  EXPECT_NE(run_moewe("--help").output.find("execute the MoE layers"), std::string::npos);
  EXPECT_EQ(run_moewe("--version").exit_code, 0);
  const ProgramResult help = run_moewe("run --help");
  EXPECT_EQ(help.exit_code, 0);
  for (const char* option :
       {"--checkpoint", "--model",       "--hidden",          "--intermediate",  "--experts",  "--topk",
        "--activation", "--two-matrix",  "--layers",          "--dtype",         "--input",    "--tokens",
        "--routing",    "--tokens-per-", "--capacity-factor", "--capacity-rule", "--overflow", "--steps",
        "--seed",       "--renormalise", "--memory-limit",    "--placement",     "--path",     "--ranks",
        "--combine",    "--threads",     "--timeout",         "--output",        "--json",     "--verify",
        "--resume"}) {
    EXPECT_NE(help.output.find(option), std::string::npos) << option;
  }
  EXPECT_EQ(test::run_moewe_under_mpi(3, "run --help").output, help.output);
}

}  // namespace
}  // namespace moewe
