#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "benchmarks/harness.hpp"

namespace moewe::bench {

using Json = nlohmann::ordered_json;

Json to_json(const Spread& spread);

/// The file that --json names, or none, into which nothing is written then.
class ResultsFile {
 public:
  ResultsFile() = default;

  /// Opened at once, so that a run does not end in finding out that it cannot write: throws InvalidInput.
  explicit ResultsFile(const std::string& path);

  /// Once, at the end of a run: the figures behind the version of their layout. Throws Error where not all
  /// could be written.
  void write(const Json& figures);

 private:
  std::optional<std::ofstream> file_;
};

}  // namespace moewe::bench
