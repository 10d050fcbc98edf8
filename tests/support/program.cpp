#include "tests/support/program.hpp"

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <sys/wait.h>

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

ProgramResult run_moewe(const std::string& arguments, const std::string& environment) {
  return run_command(environment + " " + require_variable("MOEWE_PROGRAM") + " " + arguments);
}

ProgramResult run_moewe_under_mpi(int num_ranks, const std::string& arguments,
                                  const std::string& environment) {
  std::string exports;
  std::istringstream words(environment);
  for (std::string word; words >> word;) exports += " -x " + word;
  return run_command(require_variable("MOEWE_MPIEXEC") + " -n " + std::to_string(num_ranks) + exports + " " +
                     require_variable("MOEWE_PROGRAM") + " " + arguments);
}

std::filesystem::path sample_folder() {
  return std::filesystem::path(require_variable("MOEWE_SOURCE_DIR")) / "launch" / "sample";
}

nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(std::ifstream(path));
}

}  // namespace moewe::test
