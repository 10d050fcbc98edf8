#include "tests/support/program.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <future>
#include <gtest/gtest.h>
#include <sstream>
#include <stdexcept>
#include <sys/wait.h>

#include "tests/support/temporary_folder.hpp"

namespace moewe::test {
namespace {

std::string require_variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr)
    throw std::runtime_error(std::string(name) + " is not set; run the test through ctest");
  return value;
}

}  // namespace

ProgramResult run_command(const std::string& command) {
  const auto start = std::chrono::steady_clock::now();
  std::FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("popen failed");
  ProgramResult result;
  std::array<char, 4096> chunk{};
  while (const std::size_t length = std::fread(chunk.data(), 1, chunk.size(), pipe)) {
    result.output.append(chunk.data(), length);
  }
  const int status = pclose(pipe);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

std::string program() { return require_variable("MOEWE_PROGRAM"); }

std::string mpiexec() { return require_variable("MOEWE_MPIEXEC"); }

ProgramResult run_moewe(const std::string& arguments, const std::string& environment) {
  return run_command(environment + " " + program() + " " + arguments);
}

ProgramResult run_moewe_under_mpi(int num_ranks, const std::string& arguments,
                                  const std::string& environment) {
  const TemporaryFolder session;  // of its own: two mpiruns at once may trip over each other in a common one
  std::string exports;
  std::istringstream words(environment);
  for (std::string word; words >> word;) exports += " -x " + word;
  return run_command("TMPDIR=" + session.path().string() + " " + mpiexec() + " -n " +
                     std::to_string(num_ranks) + exports + " " + program() + " " + arguments);
}

std::string describe(Ranks ranks) {
  return std::to_string(ranks.count) + (ranks.are_processes ? " processes" : " threads");
}

ProgramResult run_moewe(Ranks ranks, const std::string& arguments, const std::string& environment) {
  if (ranks.are_processes) return run_moewe_under_mpi(ranks.count, arguments, environment);
  return run_moewe(arguments + " --ranks " + std::to_string(ranks.count), environment);
}

std::vector<std::string> own_lines(const ProgramResult& result) {
  std::vector<std::string> lines;
  std::istringstream stream(result.output);
  for (std::string line; std::getline(stream, line);) {
    if (line.rfind("moewe: ", 0) == 0) lines.push_back(line);
  }
  return lines;
}

nlohmann::json results_of(Ranks ranks, const std::string& arguments, const std::string& environment,
                          int exit_code) {
  const TemporaryFolder folder;
  const ProgramResult result =
      run_moewe(ranks, arguments + " --json " + (folder / "json").string(), environment);
  const std::string what = arguments + " as " + describe(ranks) + "\n" + result.output;
  EXPECT_EQ(result.exit_code, exit_code) << what;
  if (!std::filesystem::exists(folder / "json")) {
    ADD_FAILURE() << "no results: " << what;
    return {};
  }
  nlohmann::json json = read_json(folder / "json");
  EXPECT_NE(result.output.find("sha256      " + json["output_sha256"].get<std::string>() + "\n"),
            std::string::npos)
      << what;
  EXPECT_EQ(json["ranks"], ranks.count) << what;
  EXPECT_EQ(json["verify"]["passed"], exit_code == 0) << what;
  EXPECT_EQ(json["memory"]["peak_bytes"], json["memory"]["planned_bytes"]) << what;
  EXPECT_EQ(json["memory"]["peak_bytes_per_rank"], json["memory"]["planned_bytes_per_rank"]) << what;
  return json;
}

std::string hash_of(Ranks ranks, const std::string& arguments, const std::string& environment) {
  return results_of(ranks, arguments, environment).value("output_sha256", "none");
}

std::size_t least_memory(Ranks ranks, const std::string& arguments) {
  const ProgramResult result = run_moewe(ranks, arguments + " --memory-limit 1");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  const std::string line = "needed at least";
  const std::size_t at = result.output.find(line);
  if (at == std::string::npos) throw std::runtime_error("no table of memory: " + result.output);
  return std::stoull(result.output.substr(at + line.size()));
}

namespace {

void expect_refusal(const Refusal& refusal, const ProgramResult& result) {
  EXPECT_EQ(result.exit_code, 2) << refusal.arguments << "\n" << result.output;
  const std::vector<std::string> lines = own_lines(result);
  ASSERT_EQ(lines.size(), 1U) << refusal.arguments << "\n" << result.output;
  EXPECT_NE(lines[0].find(refusal.part), std::string::npos) << refusal.arguments << "\n"
                                                            << lines[0] << "\nlacks: " << refusal.part;
  EXPECT_EQ(result.output.find("sha256"), std::string::npos) << result.output;
}

}  // namespace

void expect_refusals(const std::vector<Refusal>& refusals) {
  constexpr std::size_t at_once = 8;  // most of what mpirun takes is waiting
  for (std::size_t first = 0; first < refusals.size(); first += at_once) {
    std::vector<std::future<ProgramResult>> under_mpi;
    const std::size_t end = std::min(first + at_once, refusals.size());
    for (std::size_t i = first; i < end; ++i) {
      under_mpi.push_back(
          std::async(std::launch::async, [&, i] { return run_moewe_under_mpi(2, refusals[i].arguments); }));
    }
    for (std::size_t i = first; i < end; ++i) {
      expect_refusal(refusals[i], run_moewe(refusals[i].arguments));
      expect_refusal(refusals[i], under_mpi[i - first].get());
    }
  }
}

Sample shipped() { return {sample_folder(), 2, 512, 8, 2}; }

std::vector<Sample> whole_checkpoints() {
  const char* data = std::getenv("MOEWE_DATA");
  if (data == nullptr) return {};
  return {{std::filesystem::path(data) / "tiny-mixtral", 4, 2048, 8, 2},
          {std::filesystem::path(data) / "tiny-deepseek", 4, 2048, 32, 4}};
}

std::vector<Sample> samples() {
  std::vector<Sample> all{shipped()};
  for (const Sample& sample : whole_checkpoints()) all.push_back(sample);
  return all;
}

std::filesystem::path sample_folder() {
  return std::filesystem::path(require_variable("MOEWE_SOURCE_DIR")) / "launch" / "sample";
}

nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(std::ifstream(path));
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string interposer() {
#ifdef MOEWE_SANITIZED
  return "";
#else
  return "LD_PRELOAD=" + require_variable("MOEWE_INTERPOSER");
#endif
}

}  // namespace moewe::test
