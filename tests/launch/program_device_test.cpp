// Layers on devices: the same code as on GPUs, emulated.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"

namespace moewe {
namespace {

using test::expect_refusals;
using test::processes;
using test::Ranks;
using test::results_of;
using test::Sample;
using test::shipped;
using test::threads;

TEST(OnDevices, CheckpointsHaveTheirRecordedResultsAndOneHash) {
  for (const Sample& sample : test::samples()) {
    for (const char* dtype : {"f32", "bf16"}) {
      const std::string options =
          fmt::format("{} --dtype {} --device emulated", sample.run_recorded(), dtype);
      const bool is_shipped = sample.folder == shipped().folder;
      const std::vector<Ranks> ranks = is_shipped
                                           ? std::vector{threads(1), threads(2), processes(4), threads(8)}
                                           : std::vector{processes(2), threads(8)};
      std::string expected;
      for (const Ranks count : ranks) {
        const nlohmann::json results = results_of(count, options);
        EXPECT_EQ(results["device"], "emulated");
        EXPECT_GT(results["verify"]["compared_rows"], 0);
        EXPECT_EQ(results["verify"]["mismatched"], 0);
        EXPECT_EQ(results["ledger"]["lost"], 0);
        if (expected.empty()) expected = results["output_sha256"];
        EXPECT_EQ(results["output_sha256"], expected) << options << ", " << describe(count);
      }
    }
  }
}

TEST(OnDevices, CombinedFastCheckpointsHaveTheirRecordedResults) {
  for (const Sample& sample : test::samples()) {
    for (const char* dtype : {"f32", "bf16"}) {
      const nlohmann::json results = results_of(
          threads(3),
          fmt::format("{} --dtype {} --device emulated --combine fast", sample.run_recorded(), dtype));
      EXPECT_EQ(results["combine"], "fast");
      EXPECT_GT(results["verify"]["compared_rows"], 0);
      EXPECT_EQ(results["verify"]["mismatched"], 0) << sample.folder << ", " << dtype;
      EXPECT_EQ(results["ledger"]["lost"], 0);
      EXPECT_EQ(results["memory"]["planned_bytes"], results["memory"]["peak_bytes"]);
      const std::string matmuls = results["expert_matmuls"];
      EXPECT_EQ(matmuls.find("grouped, as by cuBLAS"), 0U) << matmuls;
    }
  }
}

TEST(OnDevices, ForcedRoutingsAndSeveralStepsBalance) {
  const std::string options =
      "run --model custom --hidden 48 --intermediate 40 --experts 12 --topk 3 "
      "--activation relu --steps 3 --tokens 61 --routing zipf:1 --device emulated";
  const nlohmann::json on_one = results_of(threads(1), options);
  EXPECT_EQ(on_one["ledger"]["computed"], 3 * 61 * 3);
  EXPECT_EQ(results_of(threads(5), options)["output_sha256"], on_one["output_sha256"]);
}

TEST(OnDevices, CapacitiesDropAndRerouteAsOnTheCpu) {
  const std::string options =
      "run --model custom --hidden 48 --intermediate 40 --experts 12 --topk 3 "
      "--activation relu --steps 2 --tokens 61 --capacity-factor 1 --overflow ";
  for (const std::string policy : {"drop-lowest-weight --renormalise", "next-choice"}) {
    const nlohmann::json on_cpu = results_of(threads(2), options + policy);
    const nlohmann::json on_one = results_of(threads(1), options + policy + " --device emulated");
    const nlohmann::json on_three = results_of(threads(3), options + policy + " --device emulated");
    EXPECT_EQ(on_one["output_sha256"], on_three["output_sha256"]);
    EXPECT_EQ(on_three["overflow"], on_cpu["overflow"]);
    EXPECT_EQ(on_three["ledger"]["dropped"], on_cpu["ledger"]["dropped"]);
    EXPECT_EQ(on_three["ledger"]["rerouted"], on_cpu["ledger"]["rerouted"]);
    EXPECT_EQ(on_three["ledger"]["lost"], 0);
    EXPECT_NE(on_three["overflow"][0]["assigned"], on_three["overflow"][0]["kept"]);
    EXPECT_EQ(on_three["memory"]["planned_bytes"], on_three["memory"]["peak_bytes"]);
  }
}

TEST(OnDevices, ExpertsMigrateWhileOutputsStayTheSame) {
  const test::TemporaryFolder folder;
  const std::string place = (folder / "placement").string();
  const std::string options =
      shipped().run() + " --tokens 60 --steps 150 --routing lognormal:1 --seed 2 --device emulated ";
  const nlohmann::json still = results_of(threads(1), options);
  for (const Ranks count : {threads(3), processes(2)}) {
    const nlohmann::json moved =
        results_of(count, options + "--rebalance every:1 --verify audit --save-placement " + place);
    const nlohmann::json& migration = moved["migration"];
    EXPECT_EQ(moved["output_sha256"], still["output_sha256"]) << describe(count);
    EXPECT_EQ(moved["ledger"]["lost"], 0);
    EXPECT_GE(migration["epochs"], 1);
    EXPECT_GE(migration["moves"], 1);
    EXPECT_EQ(migration["cancelled"], 0);
    EXPECT_GT(migration["bytes"], 0);
    EXPECT_EQ(moved["memory"]["planned_bytes"], moved["memory"]["peak_bytes"]);
  }
  EXPECT_EQ(results_of(threads(2), options + "--placement " + place)["output_sha256"],
            still["output_sha256"]);
}

/// Recorded outputs and the hash of eager steps; memory as planned.
TEST(OnDevices, StepsAsGraphsHaveTheResultsOfEagerOnes) {
  const std::string options = shipped().run_recorded() + " --dtype bf16 --device emulated --device-mode ";
  const nlohmann::json eager = results_of(threads(1), options + "eager");
  EXPECT_EQ(eager["device_mode"], "eager");
  for (const Ranks count : {threads(3), processes(4)}) {
    const nlohmann::json graphs = results_of(count, options + "graph");
    EXPECT_EQ(graphs["device_mode"], "graph");
    EXPECT_EQ(graphs["output_sha256"], eager["output_sha256"]) << describe(count);
    EXPECT_EQ(graphs["verify"]["mismatched"], 0);
    EXPECT_GT(graphs["verify"]["compared_rows"], 0);
    EXPECT_EQ(graphs["ledger"]["lost"], 0);
    EXPECT_EQ(graphs["ledger"]["computed"], eager["ledger"]["computed"]);
    EXPECT_LE(graphs["memory"]["peak_bytes"], graphs["memory"]["planned_bytes"]);
  }
  const std::string forced =
      "run --model custom --hidden 48 --intermediate 40 --experts 12 --topk 3 "
      "--activation relu --steps 3 --tokens 61 --routing zipf:1 --device emulated --device-mode ";
  EXPECT_EQ(results_of(threads(5), forced + "graph")["output_sha256"],
            results_of(threads(5), forced + "eager")["output_sha256"]);
}

TEST(OnDevices, RowsByMessageHaveTheResultsOfPushedOnes) {
  for (const char* combine : {" --dtype bf16", " --combine fast"}) {
    const std::string options = shipped().run_recorded() + combine + " --device emulated";
    const nlohmann::json pushed = results_of(threads(4), options);
    const nlohmann::json sent = results_of(processes(4), options + " --path message --carrier mpi");
    EXPECT_EQ(sent["output_sha256"], pushed["output_sha256"]) << options;
    EXPECT_EQ(sent["memory"]["peak_bytes"], sent["memory"]["planned_bytes"]);
    EXPECT_EQ(pushed["exchange"][1]["path"], "push");
    EXPECT_EQ(sent["exchange"][1]["path"], "message");
    EXPECT_EQ(sent["exchange"][1]["carrier"], "mpi");
    EXPECT_EQ(sent["exchange"][1]["reason"], "asked for");
    EXPECT_EQ(sent["exchange"][1]["carrier_reason"], "asked for; directly: mpi carries memory of devices");
  }
}

TEST(OnDevices, WhatIsNotThereIsRefused) {
  const std::string run = shipped().run() + " --tokens 4 --device ";
  expect_refusals(
      {{run + "toaster", "--device"},
       {run + "emulated --device-mode graph --capacity-factor 1",
        "--capacity-factor is not for --device-mode graph"},
       {run + "emulated --device-mode graph --combine fast", "--combine fast is not for --device-mode graph"},
       {run + "emulated --path two-level", "--path two-level is for --device cpu"},
       {run + "emulated --device-mode graph --path message", "--path message is not for --device-mode graph"},
       {run + "emulated --carrier nccl", "--carrier nccl is for --device gpu"},
       {run + "gpu --carrier nccl", "ranks of one node send none but with --path message"},
       {run + "cpu --device-mode graph", "--device-mode graph is for --device gpu"},
       {run + "auto --device-mode graph", "--device-mode graph is for --device gpu"},
       {run + "emulated --device-mode grape", "--device-mode"},
       {run + "emulated --device-mode graph --verify audit", "--verify audit is not for --device-mode graph"},
       {run + "emulated --combine fast --verify audit",
        "--verify audit with --combine fast is for --device cpu"},
       {run + "gpu --device-mode graph --rebalance auto", "--rebalance is not for --device-mode graph"},
       {run + "gpu --rebalance auto --measure speeds", "--measure is for --device cpu"},
       {run + "emulated --memory-limit 1KiB", "the run needs"}});
  const test::ProgramResult on_gpu = test::run_moewe(run + "gpu");
  if (on_gpu.exit_code == 0) GTEST_SKIP() << "there is a GPU";
  EXPECT_EQ(on_gpu.exit_code, 2) << on_gpu.output;
  EXPECT_NE(on_gpu.output.find("moewe: --device gpu: "), std::string::npos) << on_gpu.output;
}

}  // namespace
}  // namespace moewe
