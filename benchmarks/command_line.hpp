#pragma once

#include <boost/program_options.hpp>
#include <cstddef>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "runtime/dtype.hpp"

namespace moewe::bench {

/// Reads a program's arguments. Everything wrong with them throws InvalidInput with one sentence.
class CommandLine {
 public:
  /// Adds --help and --json to the options. An option's value is a string, checked by the functions below.
  CommandLine(int argc, char** argv, boost::program_options::options_description options);

  bool wants_help() const { return values_.count("help") > 0; }
  std::string help() const;

  std::string text(const char* name) const { return values_[name].as<std::string>(); }
  bool has(const char* name) const { return values_.count(name) > 0; }

  /// A whole number between least and most.
  std::size_t number(const char* name, std::size_t least, std::size_t most) const;

  /// Such numbers with commas between them.
  std::vector<std::size_t> numbers(const char* name, std::size_t least, std::size_t most) const;
  std::vector<Dtype> dtypes(const char* name) const;

  /// The parts of an option's value between its commas.
  std::vector<std::string> parts(const char* name) const;

  /// Opened at once, so that a run does not end in finding out that it cannot write; none without --json.
  std::optional<std::ofstream> open_json() const;

 private:
  boost::program_options::options_description options_;
  boost::program_options::variables_map values_;
};

/// A whole number between least and most, or InvalidInput about `what`.
std::size_t parse_number(const std::string& text, const std::string& what, std::size_t least,
                         std::size_t most);

/// Whether a launcher started this process as one of several ranks, and as which one of them.
bool started_by_launcher();
bool is_first_of_launched();

/// The exit code for the exception being handled, after printing it, by the first rank alone if it is the
/// same on all: 2 for bad input, 1 otherwise.
int report_failure(const char* program, bool same_on_all_ranks);

}  // namespace moewe::bench
