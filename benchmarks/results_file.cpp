#include "benchmarks/results_file.hpp"

#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe::bench {

Json to_json(const Spread& spread) {
  return {{"least", spread.least}, {"p10", spread.p10}, {"median", spread.median}, {"p90", spread.p90}};
}

ResultsFile::ResultsFile(const std::string& path) : file_(path) {
  if (!*file_) throw InvalidInput(fmt::format("--json: '{}' cannot be written", path));
}

void ResultsFile::write(const Json& figures) {
  if (!file_) return;
  Json versioned{{"version", 1}};
  versioned.update(figures);
  *file_ << versioned.dump(2) << '\n';
  file_->close();
  if (!*file_) throw Error(ErrorKind::internal, "--json: the file could not be written to its end");
}

}  // namespace moewe::bench
