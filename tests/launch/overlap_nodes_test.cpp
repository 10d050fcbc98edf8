// moewe run's ranks on several nodes, as threads: one hash, however rows travel and whatever is done
// meanwhile.

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "comm/error.hpp"
#include "comm/loopback/run_ranks.hpp"
#include "launch/options.hpp"
#include "launch/run_rank.hpp"
#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"

namespace moewe {
namespace {

/// What a run's JSON holds.
nlohmann::json results_on(const Topology& topology, const std::vector<std::string>& arguments) {
  const test::TemporaryFolder folder;
  std::vector<std::string> all = arguments;
  all.insert(all.end(), {"--json", (folder / "json").string()});
  const RunOptions options = parse_run_options(all);
  run_ranks(topology, std::chrono::seconds(60),
            [&](Communicator& communicator) { run_rank(communicator, loopback_backend(), options); });
  return test::read_json(folder / "json");
}

bool uses(const nlohmann::json& results, const std::string& path) {
  return std::any_of(results["exchange"].begin(), results["exchange"].end(),
                     [&](const auto& pair) { return pair["path"] == path; });
}

TEST(OverlapBetweenNodes, LeavesTheHashAlone) {
  for (const test::Sample& sample : test::samples()) {
    const std::vector<std::string> run{"--checkpoint", sample.folder.string(),
                                       "--input",      sample.activations().string(),
                                       "--tokens",     "211",
                                       "--threads",    "1"};
    const auto expected = results_on(Topology({0}), run)["output_sha256"];
    for (const std::vector<std::uint64_t>& labels :
         std::vector<std::vector<std::uint64_t>>{{0, 1}, {0, 0, 1, 1}, {0, 1, 1}}) {
      for (const char* path : {"message", "two-level"}) {
        for (const char* mode : {"off", "shared", "half"}) {
          auto arguments = run;
          arguments.insert(arguments.end(), {"--path", path, "--overlap", mode});
          const auto results = results_on(Topology(labels), arguments);
          EXPECT_EQ(results["output_sha256"], expected) << path << ", " << mode;
          EXPECT_EQ(results["memory"]["peak_bytes_per_rank"], results["memory"]["planned_bytes_per_rank"]);
          EXPECT_TRUE(uses(results, path));
        }
      }
    }
  }
}

/// On devices, emulated: rows are pushed inside nodes and are messages between them.
TEST(DevicesOfSeveralNodes, LeaveTheHashAlone) {
  const test::Sample sample = test::shipped();
  for (const char* dtype : {"f32", "bf16"}) {
    const std::vector<std::string> run{"--checkpoint", sample.folder.string(),
                                       "--input",      sample.activations().string(),
                                       "--threads",    "1",
                                       "--dtype",      dtype,
                                       "--device",     "emulated"};
    const auto expected = results_on(Topology({0}), run)["output_sha256"];
    for (const std::vector<std::uint64_t>& labels :
         std::vector<std::vector<std::uint64_t>>{{0, 1}, {0, 0, 1, 2, 2, 2}}) {
      const auto results = results_on(Topology(labels), run);
      EXPECT_EQ(results["output_sha256"], expected);
      EXPECT_EQ(results["verify"]["mismatched"], 0);
      EXPECT_EQ(results["ledger"]["lost"], 0);
      EXPECT_EQ(results["memory"]["peak_bytes_per_rank"], results["memory"]["planned_bytes_per_rank"]);
      for (const auto& pair : results["exchange"]) {
        const std::size_t from = pair["from"], to = pair["to"];
        const bool is_near = labels[from] == labels[to];
        EXPECT_EQ(pair["path"], from == to ? "local" : is_near ? "push" : "message") << pair;
        EXPECT_EQ(pair["carrier"], is_near ? "memory" : "loopback") << pair;
      }
    }
  }
}

TEST(DevicesOfSeveralNodes, HaveNoGraphs) {
  const RunOptions options = parse_run_options({"--checkpoint", test::shipped().folder.string(), "--tokens",
                                                "4", "--device", "emulated", "--device-mode", "graph"});
  run_ranks(Topology({0, 1}), std::chrono::seconds(60), [&](Communicator& communicator) {
    try {
      run_rank(communicator, loopback_backend(), options);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
      EXPECT_EQ(std::string(error.what()), "--device-mode graph is for ranks of one node so far, not of 2");
    }
  });
}

}  // namespace
}  // namespace moewe
