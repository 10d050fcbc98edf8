#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace moewe::test {

/// What a command left behind.
struct ProgramResult {
  int exit_code = -1;
  std::string output;  ///< standard output and error together
  double seconds = 0;
};

/// Runs a shell command to its end.
ProgramResult run_command(const std::string& command);

/// What a shell starts: the program under test, and mpirun.
std::string program();
std::string mpiexec();

/// `moewe` with these arguments, alone, or under mpirun with `num_ranks` processes. `environment` is
/// "NAME=value NAME=value", and reaches the ranks.
ProgramResult run_moewe(const std::string& arguments, const std::string& environment = "");
ProgramResult run_moewe_under_mpi(int num_ranks, const std::string& arguments,
                                  const std::string& environment = "");

/// How many ranks, as what.
struct Ranks {
  int count = 1;
  bool are_processes = false;
};
inline Ranks threads(int count) { return {count, false}; }
inline Ranks processes(int count) { return {count, true}; }
std::string describe(Ranks ranks);

ProgramResult run_moewe(Ranks ranks, const std::string& arguments, const std::string& environment = "");

/// Every line that the program itself said on standard error.
std::vector<std::string> own_lines(const ProgramResult& result);

/// The results of a run, which are expected to be there: the test fails where the exit code is another than
/// `exit_code`, where text and JSON differ, or where a rank's counted memory is not what was planned for it.
nlohmann::json results_of(Ranks ranks, const std::string& arguments, const std::string& environment = "",
                          int exit_code = 0);

/// The hash of a run's outputs; checked as above.
std::string hash_of(Ranks ranks, const std::string& arguments, const std::string& environment = "");

/// Bytes of each rank with which a run is not refused, as its refusal tells for less.
std::size_t least_memory(Ranks ranks, const std::string& arguments);

/// Arguments that are refused, and a part of the sentence that says why.
struct Refusal {
  std::string arguments;
  std::string part;
};

/// Expects each to end with exit code 2 and one sentence, alone and as two processes, with nothing run.
void expect_refusals(const std::vector<Refusal>& refusals);

/// A checkpoint and its recorded activations.
struct Sample {
  std::filesystem::path folder;
  std::size_t num_layers;
  std::size_t num_tokens;
  std::size_t num_experts;
  std::size_t top_k;

  std::filesystem::path activations() const { return folder / "activations.safetensors"; }
  std::string name() const { return folder.filename().string(); }

  /// "run --checkpoint ...", and with the recorded input.
  std::string run() const { return "run --checkpoint " + folder.string(); }
  std::string run_recorded() const { return run() + " --input " + activations().string(); }
};

/// The shipped one.
Sample shipped();

/// The larger ones under $MOEWE_DATA; none where that is not set.
std::vector<Sample> whole_checkpoints();

/// All of them.
std::vector<Sample> samples();

/// The folder of the shipped sample.
std::filesystem::path sample_folder();

nlohmann::json read_json(const std::filesystem::path& path);
std::string read_file(const std::filesystem::path& path);

/// The preloaded library that counts what is sent (tests/support/mpi_interposer.cpp), as a variable of the
/// environment; "" where a sanitizer's runtime has to be loaded first.
std::string interposer();

}  // namespace moewe::test
