#include "launch/run_files.hpp"

#include <fmt/format.h>
#include <optional>
#include <string>

#include "comm/error.hpp"
#include "launch/options.hpp"
#include "launch/run_keeper.hpp"
#include "runtime/write_target.hpp"

namespace moewe {
namespace {

/// A file that a run writes.
struct Written {
  const char* option;
  std::optional<std::filesystem::path> path;
  std::optional<std::filesystem::path> from;  ///< which it may take the place of
};

std::vector<Written> files_written(const RunOptions& options) {
  std::optional<std::filesystem::path> kept;
  if (options.output) kept = kept_path(*options.output);
  std::vector<Written> all{{"output", options.output, {}},
                           {"output", kept, {}},
                           {"json", options.json, {}},
                           {"timeline", options.timeline, {}},
                           {"save-placement", options.save_placement, options.placement},
                           {"save-loads", options.save_loads, options.loads}};
  std::erase_if(all, [](const Written& written) { return !written.path; });
  return all;
}

void require_unread(const Written& written, const std::filesystem::path& file) {
  if (!name_one_file(*written.path, file) || (written.from && name_one_file(*written.path, *written.from)))
    return;
  throw InvalidInput(fmt::format("{}: is read by this run and cannot be written", written.path->string()));
}

void require_other(const Written& one, const Written& other) {
  if (!name_one_file(*one.path, *other.path)) return;
  throw InvalidInput(
      fmt::format("{}: --{} and --{} name the same file", one.path->string(), one.option, other.option));
}

/// With --combine fast, sums depend on where experts are: a run that began elsewhere could not be gone on
/// with.
void require_same_start(const RunOptions& options) {
  if (!options.output || options.layer.combine != Combine::fast) return;
  const auto are_one = [](const auto& a, const auto& b) { return a && b && name_one_file(*a, *b); };
  const bool changes_plan = options.plans_placement && are_one(options.loads, options.save_loads);
  if (!changes_plan && !are_one(options.placement, options.save_placement)) return;
  throw InvalidInput(
      fmt::format("{}: cannot be replaced by a run with --combine fast and --output, which could not be "
                  "resumed then: its "
                  "sums depend on where experts are; save to another file",
                  (changes_plan ? options.loads : options.placement)->string()));
}

}  // namespace

void check_run_files(const RunOptions& options, std::vector<std::filesystem::path> read) {
  for (const auto& file : {options.input, options.placement, options.loads, options.cost}) {
    if (file) read.push_back(*file);
  }
  require_same_start(options);
  const std::vector<Written> written = files_written(options);
  for (std::size_t i = 0; i < written.size(); ++i) {
    for (const auto& file : read) require_unread(written[i], file);
    for (std::size_t j = i + 1; j < written.size(); ++j) require_other(written[i], written[j]);
  }
}

}  // namespace moewe
