// The bytes that travel between ranks, counted where MPI is called.

#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <tuple>

#include "comm/ucx/ucx_transport.hpp"
#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_files.hpp"

namespace moewe {
namespace {

using test::Sample;

constexpr std::size_t num_tokens = 309, num_ranks = 4, hidden = 128;

enum Kind { counts, manifest, rows, outputs };
using Bytes =
    std::map<std::tuple<std::size_t, std::size_t, int>, std::size_t>;  // by sender, receiver and kind

/// One row for each token and other rank that holds an expert of its; back come one output for each of these
/// experts, or where they are summed up there, one for each row.
Bytes formula(const Sample& sample, std::size_t value_bytes, bool is_fast) {
  Bytes expected;
  for (std::size_t layer = 0; layer < sample.num_layers; ++layer) {
    const auto choice = test::recorded_choice(sample, layer, num_tokens);
    for (std::size_t t = 0; t < num_tokens; ++t) {
      const std::size_t source = ((t + 1) * num_ranks - 1) / num_tokens;
      std::map<std::size_t, std::size_t> assignments;  // by owner
      for (std::size_t k = 0; k < sample.top_k; ++k) {
        ++assignments[static_cast<std::size_t>(choice[t * sample.top_k + k]) * num_ranks /
                      sample.num_experts];
      }
      for (const auto& [owner, count] : assignments) {
        if (owner == source) continue;
        expected[{source, owner, rows}] += hidden * value_bytes;
        expected[{owner, source, outputs}] += (is_fast ? 1 : count) * hidden * value_bytes;
      }
    }
  }
  return expected;
}

Bytes counted(const std::filesystem::path& file) {
  Bytes sent;
  std::ifstream lines(file);
  for (std::size_t from = 0, to = 0, kind = 0, bytes = 0; lines >> from >> to >> kind >> bytes;) {
    if (kind == rows || kind == outputs) sent[{from, to, static_cast<int>(kind)}] += bytes;
  }
  return sent;
}

std::string run(const Sample& sample) {
  return sample.run_recorded() + " --path message --calibrate off --tokens " + std::to_string(num_tokens);
}

void expect_formula(const std::string& arguments, const Sample& sample, const Bytes& expected) {
  const test::TemporaryFolder folder;
  test::results_of(test::processes(num_ranks), arguments,
                   test::interposer() + " MOEWE_TEST_SENT=" + (folder / "sent").string());
  EXPECT_EQ(expected.size(), 2 * num_ranks * (num_ranks - 1));
  EXPECT_EQ(counted(folder / "sent"), expected) << sample.name() << ": " << arguments;
}

/// All that goes through MPI's point-to-point messages, of whatever kind.
std::size_t sent_by_mpi(const std::string& arguments) {
  const test::TemporaryFolder folder;
  test::results_of(test::processes(num_ranks), arguments,
                   test::interposer() + " MOEWE_TEST_SENT=" + (folder / "sent").string());
  EXPECT_TRUE(std::filesystem::exists(folder / "sent")) << arguments;
  std::size_t sent = 0;
  std::ifstream lines(folder / "sent");
  for (std::size_t from = 0, to = 0, kind = 0, bytes = 0; lines >> from >> to >> kind >> bytes;)
    sent += bytes;
  return sent;
}

class Wire : public testing::Test {
 protected:
  void SetUp() override {
    if (test::interposer().empty()) GTEST_SKIP() << "a sanitizer's runtime has to be loaded first";
  }
};

TEST_F(Wire, CarriesRowsAndOutputsOfTheFormula) {
  for (const Sample& sample : test::samples()) {
    expect_formula(run(sample), sample, formula(sample, 4, false));
    expect_formula(run(sample) + " --dtype bf16", sample, formula(sample, 2, false));
  }
}

TEST_F(Wire, CarriesPartialSumsOnceForEachRow) {
  for (const Sample& sample : test::samples()) {
    expect_formula(run(sample) + " --combine fast", sample, formula(sample, 4, true));
    expect_formula(run(sample) + " --combine fast --dtype bf16", sample, formula(sample, 2, true));
  }
}

TEST_F(Wire, CarriesTheSameInRounds) {
  for (const Sample& sample : test::samples()) {
    const std::string arguments = run(sample) + " --dtype bf16";
    const std::size_t least = test::least_memory(test::threads(num_ranks), arguments);
    expect_formula(arguments + " --memory-limit " + std::to_string(least), sample, formula(sample, 2, false));
  }
}

TEST_F(Wire, LeavesAllMessagesToTheCarrierThatWasAskedFor) {
  if (!reason_for_no_ucx().empty()) GTEST_SKIP() << reason_for_no_ucx();
  const Sample sample = test::shipped();
  std::size_t needed = 0;
  for (const auto& [pair, bytes] : formula(sample, 4, false)) needed += bytes;
  EXPECT_GT(sent_by_mpi(run(sample) + " --carrier mpi"), needed);
  EXPECT_EQ(sent_by_mpi(run(sample) + " --carrier ucx"), 0U);
  EXPECT_EQ(sent_by_mpi(run(sample) + " --carrier ucx --dtype bf16 --capacity-factor 1"), 0U);
}

TEST(FastCombine, IsWithinTheTolerance) {
  for (const Sample& sample : test::samples()) {
    for (const char* dtype : {"f32", "bf16"}) {
      for (const char* path : {"direct", "message"}) {
        const auto verify =
            test::results_of(test::threads(4), sample.run_recorded() + " --combine fast --dtype " + dtype +
                                                   " --path " + path)["verify"];
        EXPECT_EQ(verify["compared_rows"], sample.num_layers * sample.num_tokens);
      }
    }
  }
}

}  // namespace
}  // namespace moewe
