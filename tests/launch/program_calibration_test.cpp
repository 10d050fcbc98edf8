// What is chosen by measuring: when links are measured, where what was found is kept, and that nobody depends
// on it.

#include <fstream>
#include <gtest/gtest.h>

#include "comm/ucx/ucx_transport.hpp"
#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"

namespace moewe {
namespace {

using test::processes;
using test::shipped;
using test::TemporaryFolder;

std::string by_message() { return shipped().run_recorded() + " --path message"; }

class Calibration : public testing::Test {
 protected:
  std::string cached_in(const std::filesystem::path& folder) const {
    return "MOEWE_CACHE_DIR=" + folder.string();
  }

  nlohmann::json exchange_of(const std::string& arguments) const {
    return test::results_of(processes(2), arguments, cached_in(folder_.path()))["exchange"][1];
  }

  std::vector<std::filesystem::path> files() const {
    std::vector<std::filesystem::path> all;
    for (const auto& file : std::filesystem::directory_iterator(folder_.path())) all.push_back(file.path());
    return all;
  }

  /// The one that there is.
  std::filesystem::path file() const {
    const auto all = files();
    if (all.size() != 1) throw std::runtime_error("not one file but " + std::to_string(all.size()));
    return all[0];
  }

  const TemporaryFolder folder_;
};

/// Two carriers to choose from, so that there is something to measure on one host.
class CalibrationOfCarriers : public Calibration {
 protected:
  void SetUp() override {
    if (!reason_for_no_ucx().empty()) GTEST_SKIP() << reason_for_no_ucx();
  }

  /// As if this had been measured.
  void write_costs(const char* carrier, double s_per_byte) const {
    nlohmann::json cache = test::read_json(file());
    for (auto& costs : cache["links"]["carriers"]) {
      if (costs["carrier"] == carrier)
        costs["inside_nodes"] = {{"latency_s", 1e-6}, {"s_per_byte", s_per_byte}};
    }
    std::ofstream(file()) << cache;
  }
};

TEST_F(Calibration, MeasuresNothingWhereAllRanksShareANode) {
  const auto pair = exchange_of(shipped().run_recorded());
  EXPECT_EQ(pair["path"], "direct");
  EXPECT_EQ(pair["reason"], "same node, as all ranks: nothing to measure");
  EXPECT_TRUE(files().empty());
}

TEST_F(Calibration, MeasuresNothingWhereItMayNotOrNeedNot) {
  EXPECT_EQ(exchange_of(by_message() + " --calibrate off")["carrier_reason"], "the default");
  EXPECT_EQ(exchange_of(by_message() + " --carrier mpi")["carrier_reason"], "asked for");
  EXPECT_TRUE(files().empty());
}

TEST_F(CalibrationOfCarriers, TellsWhatWasMeasuredAndKeepsIt) {
  const std::string reason = exchange_of(by_message())["carrier_reason"];
  EXPECT_NE(reason.find("mpi "), std::string::npos) << reason;
  EXPECT_NE(reason.find(", ucx "), std::string::npos) << reason;
  EXPECT_NE(reason.find("B/s"), std::string::npos) << reason;
  EXPECT_EQ(test::read_json(file())["links"]["carriers"].size(), 2U);
}

TEST_F(CalibrationOfCarriers, ChoosesByWhatWasKeptUnlessAskedToMeasure) {
  exchange_of(by_message());
  for (const char* carrier : {"ucx", "mpi"}) {
    const std::string other = carrier == std::string("mpi") ? "ucx" : "mpi";
    write_costs(carrier, 1e-12);
    write_costs(other.c_str(), 1e-3);
    const auto pair = exchange_of(by_message());
    EXPECT_EQ(pair["carrier"], carrier);
    const std::string reason = pair["carrier_reason"];
    EXPECT_NE(reason.find(other + " 1 kB/s and 1 us"), std::string::npos) << reason;
  }
  const std::string reason = exchange_of(by_message() + " --calibrate fresh")["carrier_reason"];
  EXPECT_EQ(reason.find("1 kB/s"), std::string::npos) << reason;
}

TEST_F(CalibrationOfCarriers, GoesOnWithOneLineWhateverTheFileHolds) {
  exchange_of(by_message());
  const std::string hash = test::hash_of(processes(2), by_message() + " --calibrate off");
  for (const char* text : {"", "{\"format\": 1}", "no json"}) {
    std::ofstream(file(), std::ios::trunc) << text;
    const auto result = test::run_moewe(processes(2), by_message(), cached_in(folder_.path()));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_NE(result.output.find(hash), std::string::npos) << result.output;
    const std::size_t line = result.output.find("links are measured anew");
    ASSERT_NE(line, std::string::npos) << result.output;
    EXPECT_EQ(result.output.find("links are measured anew", line + 1), std::string::npos) << result.output;
    EXPECT_TRUE(test::read_json(file()).contains("links"));
  }
}

TEST_F(CalibrationOfCarriers, GoesOnWhereNothingCanBeKept) {
  const auto result = test::run_moewe(processes(2), by_message(), cached_in("/proc/no/folder"));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("the next run measures the links again"), std::string::npos) << result.output;
}

TEST_F(CalibrationOfCarriers, LeavesOutACarrierThatCannotBeStarted) {
  const auto json =
      test::results_of(processes(2), by_message(), cached_in(folder_.path()) + " UCX_TLS=no_such_transport");
  EXPECT_EQ(json["exchange"][1]["carrier"], "mpi");
  EXPECT_EQ(json["exchange"][1]["carrier_reason"], "no other can be used");
}

}  // namespace
}  // namespace moewe
