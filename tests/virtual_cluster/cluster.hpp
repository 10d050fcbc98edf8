#pragma once

#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"

namespace moewe::test {

/// Ranks of each host.
using Hosts = std::vector<std::size_t>;

inline std::string tool() {
  return (shipped().folder / "../../tests/virtual_cluster/virtual_cluster").lexically_normal().string();
}

inline std::string over(const Hosts& hosts) {
  return fmt::format("{} --hosts {}", tool(), fmt::join(hosts, ","));
}

inline ProgramResult run_moewe_over(const Hosts& hosts, const std::string& arguments,
                                    const std::string& options = "", const std::string& environment = "") {
  return run_command(
      fmt::format("{} {} {} -- {} {}", environment, over(hosts), options, program(), arguments));
}

/// Ends the test program where no hosts can be made up, with the reason and the exit code for that.
class ClusterTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    constexpr int cannot_run = 77;
    const ProgramResult trial = run_command(over({1, 1}) + " -- true");
    if (trial.exit_code != cannot_run) return;
    std::fputs(trial.output.c_str(), stdout);
    std::fflush(stdout);
    std::_Exit(cannot_run);
  }

  nlohmann::json results_over(const Hosts& hosts, const std::string& arguments,
                              const std::string& options = "", const std::string& environment = "") {
    const std::filesystem::path json = folder_ / "json";
    const ProgramResult result =
        run_moewe_over(hosts, arguments + " --json " + json.string(), options, environment);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    if (result.exit_code != 0) throw std::runtime_error("no results");
    return read_json(json);
  }

  const TemporaryFolder folder_;
};

}  // namespace moewe::test
