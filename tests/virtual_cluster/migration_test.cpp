// Experts that migrate between hosts: the results are those of a run in which none does.

#include "tests/virtual_cluster/cluster.hpp"

namespace moewe {
namespace {

using MigrationOverHosts = test::ClusterTest;

/// Of experts of 768 KiB, with loads that are uneven on any number of ranks.
std::string uneven_run() {
  return "run --model custom --hidden 256 --intermediate 256 --experts 16 --topk 4 --tokens 200 --steps 60 "
         "--routing lognormal:1 --seed 3";
}

constexpr std::size_t expert_bytes = 3 * 256 * 256 * 4;

/// Received by all hosts, with headers.
double received(const nlohmann::json& counters) {
  double sum = 0;
  for (const nlohmann::json& host : counters["hosts"]) sum += host["rx_bytes"].get<double>();
  return sum;
}

TEST_F(MigrationOverHosts, HasTheBitsOfARunWithoutUnderAnyBudget) {
  const std::string expected = hash_of(test::threads(1), uneven_run());
  for (const test::Hosts& hosts : {test::Hosts{2, 2}, test::Hosts{1, 1}}) {
    for (const char* path : {"message", "two-level"}) {
      if (hosts[0] == 1 && std::string(path) == "two-level") continue;
      for (const std::string budget : {"auto", "1MiB"}) {
        const nlohmann::json results = results_over(
            hosts, fmt::format("{} --path {} --rebalance every:1 --spare-slots 0 --migration-budget {}",
                               uneven_run(), path, budget));
        const nlohmann::json& migration = results["migration"];
        EXPECT_EQ(results["output_sha256"], expected) << test::over(hosts) << " " << path << " " << budget;
        EXPECT_EQ(results["ledger"]["lost"], 0);
        EXPECT_GE(migration["moves"], 2) << test::over(hosts) << " " << path << " " << budget;
        EXPECT_EQ(migration["cancelled"], 0);
        const bool is_measured =
            migration["budget_reason"].get<std::string>().find("leave a node") != std::string::npos;
        EXPECT_EQ(is_measured, budget == "auto") << migration["budget_reason"];
        EXPECT_EQ(migration["budget_bytes"] < (1 << 20), budget == "auto");
        EXPECT_EQ(migration["bytes"], migration["moves"].get<std::size_t>() * expert_bytes);
      }
    }
  }
}

/// Where each host has one rank, all moves are between hosts. With a given budget no link is measured.
TEST_F(MigrationOverHosts, SendsTheBytesThatItSaysAndThoseOfTheSteps) {
  const std::string run =
      "run --model custom --hidden 256 --intermediate 256 --experts 16 --topk 4 --tokens "
      "2 --steps 60 --routing lognormal:1 --seed 3 --path message --carrier mpi";
  const std::string counters = "--counters " + (folder_ / "counters").string();
  results_over({1, 1}, run, counters);
  const double still = received(test::read_json(folder_ / "counters"));
  const nlohmann::json results =
      results_over({1, 1}, run + " --rebalance every:1 --spare-slots 0 --migration-budget 1MiB", counters);
  const double moved = received(test::read_json(folder_ / "counters")) - still;
  const double bytes = results["migration"]["bytes"];
  EXPECT_GE(bytes, 2 * expert_bytes);
  EXPECT_GE(moved, bytes);
  EXPECT_LE(moved, 1.1 * bytes + still);
}

}  // namespace
}  // namespace moewe
