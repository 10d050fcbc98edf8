#include "benchmarks/command_line.hpp"

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fmt/format.h>
#include <sstream>
#include <string_view>
#include <utility>

#include "comm/error.hpp"
#include "comm/together.hpp"

namespace moewe::bench {
namespace {

namespace po = boost::program_options;

/// What Open MPI, Slurm and MPICH's launchers tell a rank before MPI starts.
const char* launched_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
    if (const char* value = std::getenv(name)) return value;
  }
  return nullptr;
}

}  // namespace

CommandLine::CommandLine(int argc, char** argv, po::options_description options)
    : options_(std::move(options)) {
  options_.add_options()("json", po::value<std::string>()->value_name("FILE"), "write the figures as JSON")(
      "help", "print this");
  const auto style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  try {
    const po::positional_options_description none;
    po::store(po::command_line_parser(argc, argv).options(options_).positional(none).style(style).run(),
              values_);
  } catch (const po::error& error) {
    throw InvalidInput(fmt::format("{}; see --help", error.what()));
  }
}

std::string CommandLine::help() const {
  std::ostringstream text;
  text << options_;
  return text.str();
}

std::size_t parse_number(const std::string& text, const std::string& what, std::size_t least,
                         std::size_t most) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) {
    throw InvalidInput(
        fmt::format("{} must be a whole number between {} and {}, not '{}'", what, least, most, text));
  }
  return value;
}

std::size_t CommandLine::number(const char* name, std::size_t least, std::size_t most) const {
  return parse_number(text(name), fmt::format("--{}", name), least, most);
}

std::vector<std::string> CommandLine::parts(const char* name) const {
  std::vector<std::string> parts;
  std::istringstream stream(text(name) + ",");
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

std::vector<std::size_t> CommandLine::numbers(const char* name, std::size_t least, std::size_t most) const {
  std::vector<std::size_t> numbers;
  const std::string what = fmt::format("each number of --{}", name);
  for (const std::string& part : parts(name)) numbers.push_back(parse_number(part, what, least, most));
  return numbers;
}

std::vector<Dtype> CommandLine::dtypes(const char* name) const {
  std::vector<Dtype> dtypes;
  for (const std::string& part : parts(name)) {
    if (part != "f32" && part != "bf16") {
      throw InvalidInput(fmt::format("--{} takes f32 and bf16, not '{}'", name, part));
    }
    dtypes.push_back(part == "f32" ? Dtype::f32 : Dtype::bf16);
  }
  return dtypes;
}

std::optional<std::ofstream> CommandLine::open_json() const {
  if (!has("json")) return {};
  std::ofstream file(text("json"));
  if (!file) throw InvalidInput(fmt::format("--json: '{}' cannot be written", text("json")));
  return file;
}

bool started_by_launcher() { return launched_rank() != nullptr; }

bool is_first_of_launched() {
  const char* rank = launched_rank();
  return rank == nullptr || std::string_view(rank) == "0";
}

int report_failure(const char* program, bool same_on_all_ranks) {
  const std::exception_ptr failure = std::current_exception();
  std::fflush(stdout);
  if (!same_on_all_ranks || is_first_of_launched()) {
    fmt::print(stderr, "{}: {}\n", program, text_of(failure));
  }
  return kind_of(failure) == ErrorKind::invalid_input ? 2 : 1;
}

}  // namespace moewe::bench
