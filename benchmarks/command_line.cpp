#include "benchmarks/command_line.hpp"

#include <charconv>
#include <fmt/format.h>
#include <sstream>
#include <utility>

#include "benchmarks/launched.hpp"
#include "comm/error.hpp"

namespace moewe::bench {

namespace po = boost::program_options;

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

po::typed_value<std::string>* text_option(const char* value_name, const char* otherwise) {
  return po::value<std::string>()->default_value(otherwise)->value_name(value_name);
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

ResultsFile CommandLine::results_file() const {
  return has("json") && is_first_of_launched() ? ResultsFile(text("json")) : ResultsFile();
}

}  // namespace moewe::bench
