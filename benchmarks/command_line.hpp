#pragma once

#include <boost/program_options.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "benchmarks/results_file.hpp"
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

  /// That of --json; none of launched processes behind the first.
  ResultsFile results_file() const;

 private:
  boost::program_options::options_description options_;
  boost::program_options::variables_map values_;
};

/// A string, which is `otherwise` where the option is not given.
boost::program_options::typed_value<std::string>* text_option(const char* value_name, const char* otherwise);

/// A whole number between least and most, or InvalidInput about `what`.
std::size_t parse_number(const std::string& text, const std::string& what, std::size_t least,
                         std::size_t most);

}  // namespace moewe::bench
