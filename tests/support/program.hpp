#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace moewe::test {

/// What a command left behind.
struct ProgramResult {
  int exit_code = -1;
  std::string output;  ///< standard output and error together
  double seconds = 0;
};

/// Runs a shell command to its end.
ProgramResult run_command(const std::string& command);

/// `moewe` with these arguments, alone, or under mpirun with `num_ranks` processes. `environment` is
/// "NAME=value NAME=value", and reaches the ranks.
ProgramResult run_moewe(const std::string& arguments, const std::string& environment = "");
ProgramResult run_moewe_under_mpi(int num_ranks, const std::string& arguments,
                                  const std::string& environment = "");

/// The folder of the shipped sample.
std::filesystem::path sample_folder();

nlohmann::json read_json(const std::filesystem::path& path);

}  // namespace moewe::test
