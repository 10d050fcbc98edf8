// What holds on one host holds on several, as tests/virtual_cluster/virtual_cluster makes them up. Where it
// cannot, all of this is skipped with its reason (exit code 77).

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <set>
#include <thread>

#include "tests/support/tensor_files.hpp"
#include "tests/virtual_cluster/cluster.hpp"

namespace moewe {
namespace {

using test::Hosts;
using test::over;
using test::ProgramResult;
using test::run_moewe_over;
using test::shipped;
using test::TemporaryFolder;
using test::tool;
using VirtualCluster = test::ClusterTest;

/// The host of each rank.
std::vector<std::size_t> hosts_of_ranks(const Hosts& hosts) {
  std::vector<std::size_t> result;
  for (std::size_t host = 0; host < hosts.size(); ++host) result.insert(result.end(), hosts[host], host);
  return result;
}

void expect_paths(const nlohmann::json& exchange, const Hosts& hosts) {
  const std::vector<std::size_t> host_of = hosts_of_ranks(hosts);
  ASSERT_EQ(exchange.size(), host_of.size() * host_of.size());
  for (const nlohmann::json& pair : exchange) {
    const std::size_t from = pair["from"], to = pair["to"];
    const bool share_host = host_of[from] == host_of[to];
    EXPECT_EQ(pair["path"], from == to ? "local" : share_host ? "direct" : "message") << pair;
    EXPECT_EQ(pair["reason"], from == to   ? "same rank"
                              : share_host ? "same node"
                                           : fmt::format("ranks {} and {} are on different nodes", from, to))
        << pair;
  }
}

TEST_F(VirtualCluster, ComputesTheBitsOfOneHost) {
  const std::string expected = hash_of(test::threads(1), shipped().run_recorded());
  for (const Hosts& hosts : {Hosts{2, 2}, Hosts{2, 2, 2}, Hosts{2, 1, 3}}) {
    const nlohmann::json results = results_over(hosts, shipped().run_recorded() + " --calibrate off");
    EXPECT_EQ(results["output_sha256"], expected) << over(hosts);
    EXPECT_EQ(results["nodes"], hosts.size());
    expect_paths(results["exchange"], hosts);
  }
}

TEST_F(VirtualCluster, ComputesTheBitsOfOneHostOnDevices) {
  const std::string run = shipped().run_recorded() + " --device emulated --calibrate off";
  const nlohmann::json results = results_over({2, 1, 3}, run);
  EXPECT_EQ(results["output_sha256"], hash_of(test::threads(1), run));
  EXPECT_EQ(results["memory"]["peak_bytes"], results["memory"]["planned_bytes"]);
}

TEST_F(VirtualCluster, HasNoMemoryInCommon) {
  const ProgramResult result = run_moewe_over({1, 1}, shipped().run_recorded() + " --path direct");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find("different nodes"), std::string::npos) << result.output;
}

// What goes over the links

struct HostBytes {
  double sent = 0;
  double received = 0;
};

/// Formula bytes between hosts: a row to each rank that computes some expert of a token, and a row back for
/// each of its assignments.
std::vector<HostBytes> bytes_between(const Hosts& hosts, const std::vector<std::int32_t>& topk_ids,
                                     std::size_t top_k, std::size_t num_experts, double row_bytes) {
  const std::vector<std::size_t> host_of = hosts_of_ranks(hosts);
  const std::size_t num_ranks = host_of.size(), num_tokens = topk_ids.size() / top_k;
  std::vector<HostBytes> bytes(hosts.size());
  const auto add_row = [&](std::size_t from, std::size_t to) {
    if (host_of[from] == host_of[to]) return;
    bytes[host_of[from]].sent += row_bytes;
    bytes[host_of[to]].received += row_bytes;
  };
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    for (std::size_t t = num_tokens * rank / num_ranks; t < num_tokens * (rank + 1) / num_ranks; ++t) {
      std::set<std::size_t> destinations;
      for (std::size_t k = 0; k < top_k; ++k) {
        const std::size_t expert = static_cast<std::size_t>(topk_ids[t * top_k + k]);
        const std::size_t owner = expert * num_ranks / num_experts;
        add_row(owner, rank);
        if (destinations.insert(owner).second) add_row(rank, owner);
      }
    }
  }
  return bytes;
}

struct WideModel {
  std::size_t hidden = 4096, num_experts = 32, top_k = 8, num_tokens = 512;

  std::string run() const {
    return fmt::format("run --model custom --hidden {} --intermediate 64 --experts {} --topk {} --tokens {}",
                       hidden, num_experts, top_k, num_tokens);
  }
};

std::vector<std::int32_t> choice_on_one_host(const WideModel& model, const std::filesystem::path& output) {
  const ProgramResult result = run_moewe(test::threads(1), model.run() + " --output " + output.string());
  EXPECT_EQ(result.exit_code, 0) << result.output;
  const std::vector<test::TensorBytes> tensors = test::read_tensors(output);
  return test::values_of<std::int32_t>(test::find_tensor(tensors, "layers.0.topk_ids"));
}

TEST_F(VirtualCluster, SendsTheBytesOfTheFormulaAndNotFasterThanItsLinks) {
  constexpr double header_bytes = 66;  // Ethernet, IP and TCP with its time stamps
  constexpr double bits_per_s = 100e6, most_in_the_bucket = 1.05;
  const WideModel model;
  const std::vector<std::int32_t> topk_ids = choice_on_one_host(model, folder_ / "output");
  for (const Hosts& hosts : {Hosts{2, 2}, Hosts{2, 1, 1}}) {
    const nlohmann::json results =
        results_over(hosts, model.run() + " --path message --carrier mpi",
                     "--rate 100mbit --counters " + (folder_ / "counters").string());
    const nlohmann::json counters = test::read_json(folder_ / "counters");
    const std::vector<HostBytes> expected = bytes_between(hosts, topk_ids, model.top_k, model.num_experts,
                                                          4.0 * static_cast<double>(model.hidden));
    for (std::size_t host = 0; host < hosts.size(); ++host) {
      const nlohmann::json& link = counters["hosts"][host];
      const double
          received =  // and not sent: the switch may have dropped some of that, and had it sent again
          link["rx_bytes"].get<double>() - header_bytes * link["rx_packets"].get<double>();
      EXPECT_GE(received, expected[host].received) << over(hosts) << " " << link;
      EXPECT_LE(received, 1.03 * expected[host].received) << over(hosts) << " " << link;
      EXPECT_GE(results["time_s"]["step"]["max"].get<double>() * most_in_the_bucket,
                std::max(expected[host].sent, expected[host].received) * 8 / bits_per_s);
    }
  }
}

// What is chosen by itself

struct Expected {
  Hosts hosts;
  const char* path;    ///< between hosts
  const char* reason;  ///< a part of it
};

TEST_F(VirtualCluster, HasThePathThatPaysOverItsLinksChosenByItself) {
  const WideModel model;
  const std::string expected_hash = hash_of(test::threads(1), model.run());
  for (const auto& [hosts, path, reason] :
       {Expected{{2, 2}, "two-level", "a token crosses 1.0 instead of 1.9"},
        Expected{{2, 2, 2}, "two-level", "a token crosses 1.0 instead of 1.6"},
        Expected{{1, 1}, "message", "one rank on each of the two nodes"},
        Expected{{2}, "direct", "nothing to measure"}}) {
    const nlohmann::json results = results_over(hosts, model.run() + " --calibrate fresh");
    EXPECT_EQ(results["output_sha256"], expected_hash) << over(hosts);
    const std::vector<std::size_t> host_of = hosts_of_ranks(hosts);
    for (const nlohmann::json& pair : results["exchange"]) {
      const std::size_t from = pair["from"], to = pair["to"];
      if (from == to) continue;
      const bool is_between = host_of[from] != host_of[to];
      EXPECT_EQ(pair["path"], is_between ? path : "direct") << pair;
      if (!is_between && hosts.size() > 1) continue;
      EXPECT_NE(pair["reason"].get<std::string>().find(reason), std::string::npos) << pair;
    }
  }
}

TEST_F(VirtualCluster, MeasuresItsLinksOnceUnlessAskedAgain) {
  const WideModel model;
  const auto costs_after = [&](const std::string& calibrate, const std::string& rate) {
    results_over({2, 2}, model.run() + " --calibrate " + calibrate, "--rate " + rate,
                 "MOEWE_CACHE_DIR=" + (folder_ / "cache").string());
    const std::filesystem::directory_iterator files(folder_ / "cache");
    EXPECT_EQ(std::distance(begin(files), end(files)), 1);
    return test::read_json(std::filesystem::directory_iterator(folder_ / "cache")->path())["links"];
  };
  const auto rate_in = [](const nlohmann::json& links) {
    return 1 / links["carriers"][0]["between_nodes"]["s_per_byte"].get<double>();
  };
  const nlohmann::json fast = costs_after("cached", "1gbit");
  EXPECT_EQ(costs_after("cached", "100mbit"), fast);
  const nlohmann::json slow = costs_after("fresh", "100mbit");
  constexpr double most_in_the_bucket = 1.4;
  EXPECT_LT(rate_in(slow), most_in_the_bucket * 100e6 / 8);
  EXPECT_LT(rate_in(fast), most_in_the_bucket * 1e9 / 8);
}

// What it leaves behind

/// Processes that have this in their environment.
std::size_t count_processes(const std::string& variable) {
  std::size_t count = 0;
  for (const auto& process : std::filesystem::directory_iterator("/proc")) {
    const std::string environment = test::read_file(process.path() / "environ");
    if (environment.find(variable) != std::string::npos) ++count;
  }
  return count;
}

/// Soon nothing is left of what was started with this in its environment.
void expect_nothing_left(const std::string& variable) {
  for (int tries = 0; tries < 100 && count_processes(variable) > 0; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(count_processes(variable), 0U);
  for (const char* device : {"switch", "port0", "net0"}) {
    EXPECT_FALSE(std::filesystem::exists(std::filesystem::path("/sys/class/net") / device)) << device;
  }
}

/// A run without an end, and what is done once it has begun to write to `folder`, which is before its first
/// step. The shell waits for the cluster, whose process is $pid, unless it is the shell of rank 3, which
/// becomes the rank.
std::string endless_run(const TemporaryFolder& folder) {
  return fmt::format("{} {} --steps 100000000 --timeout 10 --output {}/output", test::program(),
                     shipped().run_recorded(), folder.path().string());
}

std::string once_it_runs(const TemporaryFolder& folder, const std::string& act) {
  return fmt::format("while [ -z \"$(ls -A {})\" ]; do sleep 0.05; done; sleep 0.3; {}",
                     folder.path().string(), act);
}

std::string mark_of(const TemporaryFolder& folder) {
  return "MOEWE_TEST_CLUSTER=" + folder.path().string() + ".";
}

ProgramResult send_to_cluster(const std::string& signal, const TemporaryFolder& folder) {
  return test::run_command(fmt::format("{{ {} {} -- {} > /dev/null 2>&1 & pid=$!; {}; wait $pid; }}",
                                       mark_of(folder), over({2, 2}), endless_run(folder),
                                       once_it_runs(folder, "kill -" + signal + " $pid")));
}

TEST_F(VirtualCluster, EndsWithARankThatIsKilled) {
  const std::string become_rank =
      fmt::format("[ $OMPI_COMM_WORLD_RANK -ne 3 ] || ({}) > /dev/null 2>&1 & exec {}",
                  once_it_runs(folder_, "kill -KILL $$"), endless_run(folder_));
  const ProgramResult result =
      test::run_command(fmt::format("{} {} -- sh -c '{}'", mark_of(folder_), over({2, 2}), become_rank));
  EXPECT_EQ(result.exit_code, 128 + 9) << result.output;
  EXPECT_LT(result.seconds, 30) << result.output;
  EXPECT_NE(result.output.find("process rank 3"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("on node host1 exited on signal 9"), std::string::npos) << result.output;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "output"));
  expect_nothing_left(mark_of(folder_));
}

TEST_F(VirtualCluster, LeavesNothingWhenItIsInterrupted) {
  for (const auto& [name, exit_code] : {std::pair{"INT", 130}, std::pair{"TERM", 143}}) {
    const TemporaryFolder folder;
    const ProgramResult result = send_to_cluster(name, folder);
    EXPECT_EQ(result.exit_code, exit_code) << result.output;
    expect_nothing_left(mark_of(folder));
  }
}

TEST_F(VirtualCluster, LeavesNothingWhenItIsKilled) {
  const ProgramResult killed = send_to_cluster("KILL", folder_);
  EXPECT_EQ(killed.exit_code, 128 + 9) << killed.output;
  expect_nothing_left(mark_of(folder_));
  EXPECT_EQ(test::run_command(over({1, 1}) + " -- true").exit_code, 0);
}

// A run that hangs

/// What is printed by an endless run over two hosts of two ranks, of which rank 3 does something to itself or
/// its host in the midst of its steps. All is killed once the culprit is named, since mpirun waits for a host
/// that is cut off.
std::string output_of_hang(const TemporaryFolder& folder, const std::string& act) {
  const TemporaryFolder output;
  const std::string become_rank = fmt::format(
      "[ $OMPI_COMM_WORLD_RANK -ne 3 ] || ({}) > /dev/null 2>&1 & "
      "exec {} {} --calibrate off --steps 100000000 --timeout 2 --output {}/output",
      once_it_runs(folder, act), test::program(), shipped().run_recorded(), folder.path().string());
  return test::run_command(
             fmt::format("{{ {0} -- sh -c '{1}' > {2}/text 2>&1 & pid=$!; "
                         "for i in $(seq 300); do grep -q culprit: {2}/text && break; sleep 0.1; done; "
                         "sleep 1; kill -KILL $pid; cat {2}/text; }}",
                         over({2, 2}), become_rank, output.path().string()))
      .output;
}

/// Lines that begin so.
std::size_t count_lines(const std::string& text, const std::string& begin) {
  std::size_t count = 0;
  for (std::size_t at = text.find(begin); at != std::string::npos; at = text.find(begin, at + 1)) {
    if (at == 0 || text[at - 1] == '\n') ++count;
  }
  return count;
}

TEST_F(VirtualCluster, NamesAStoppedRankOfAnotherHost) {
  const std::string output = output_of_hang(folder_, "kill -STOP $$");
  EXPECT_EQ(count_lines(output, "culprit: rank 3 on host1: stopped\n"), 1U) << output;
  EXPECT_EQ(count_lines(output, "culprit: "), 1U) << output;
  for (const char* rank : {"rank 0 on host0", "rank 1 on host0", "rank 2 on host1"}) {
    EXPECT_EQ(count_lines(output, fmt::format("moewe: {}: step ", rank)), 1U) << output;
    EXPECT_EQ(count_lines(output, fmt::format("  {}      runs ", rank)), 1U) << output;
  }
}

/// By host 0; what host 1 has to say does not arrive.
void expect_unreachable(const std::string& output) {
  EXPECT_EQ(count_lines(output, "culprit: "), 1U) << output;
  EXPECT_EQ(count_lines(output, "culprit: rank 2 on host1: unreachable\n") +
                count_lines(output, "culprit: rank 3 on host1: unreachable\n"),
            1U)
      << output;
  EXPECT_EQ(count_lines(output, "  rank 2 on host1      silent\n"), 1U) << output;
}

TEST_F(VirtualCluster, NamesAHostThatIsCutOff) {
  expect_unreachable(output_of_hang(folder_, "ip link set net0 down"));
}

TEST_F(VirtualCluster, NamesAHostBehindALinkThatDelaysAll) {
  expect_unreachable(
      output_of_hang(folder_, "tc qdisc replace dev net0 root tbf rate 8kbit burst 2kb latency 20s"));
}

// The tool

TEST_F(VirtualCluster, PassesOnTheExitCodeAndRunsInTheFolderOfItsCaller) {
  const ProgramResult result =
      test::run_command(fmt::format("cd {} && {} -- sh -c 'echo in $(pwd -P) on $(hostname); exit 5'",
                                    folder_.path().string(), over({1, 2})));
  EXPECT_EQ(result.exit_code, 5) << result.output;
  for (const char* host : {"host0", "host1"}) {
    const std::string line =
        fmt::format("in {} on {}\n", std::filesystem::canonical(folder_.path()).string(), host);
    EXPECT_NE(result.output.find(line), std::string::npos) << result.output;
  }
}

TEST_F(VirtualCluster, SaysWhatIsMissing) {
  const ProgramResult result = test::run_command(tool() + " --mpirun no-such-mpirun -- true");
  EXPECT_EQ(result.exit_code, 77) << result.output;
  EXPECT_NE(result.output.find("no hosts can be made up here: no-such-mpirun is not installed"),
            std::string::npos)
      << result.output;
  EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << result.output;
}

TEST_F(VirtualCluster, RefusesNumbersOfRanksThatAreNone) {
  for (const char* hosts : {"0x2", "2x0", "2,0", "x", "2x2x2", "two", "-1"}) {
    const ProgramResult result = test::run_command(fmt::format("{} --hosts={} -- true", tool(), hosts));
    EXPECT_EQ(result.exit_code, 2) << hosts << "\n" << result.output;
  }
}

}  // namespace
}  // namespace moewe
