#include "launch/run_identity.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <string_view>

#include "launch/options.hpp"
#include "runtime/kernels/matmul.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

/// Options that results depend on just as they are typed.
bool decides_results(std::string_view setting, Combine combine) {
  constexpr std::array<std::string_view, 12> names{
      "--model ",      "--hidden ", "--intermediate ", "--experts ", "--topk ",    "--activation ",
      "--two-matrix ", "--steps ",  "--seed ",         "--dtype ",   "--combine ", "--capacity-factor "};
  const auto is_of = [&](std::string_view name) { return setting.substr(0, name.size()) == name; };
  return std::any_of(names.begin(), names.end(), is_of) ||
         (combine == Combine::fast &&
          (is_of("--path ") || is_of("--placement ") || is_of("--loads ") || is_of("--spare-slots ")));
}

/// A trace is known by its length, wherever it lies.
std::string routing_line(const RunInputs& inputs, const RunOptions& options) {
  if (!options.routing.trace) return fmt::format("--routing {}", describe(options.routing));
  std::uintmax_t num_bytes = 0;
  for (const auto& file : inputs.routing()->files_read()) num_bytes += std::filesystem::file_size(file);
  return fmt::format("--routing trace:FILE of {} bytes", num_bytes);
}

std::string input_line(const RunInputs& inputs) {
  if (inputs.input() == nullptr) return "generated tokens";
  return fmt::format("an input with tensors {:016x}", digest_of(*inputs.input()));
}

}  // namespace

std::string identity_of(const RunInputs& inputs, const RunOptions& options, const Topology& topology,
                        const Device* device) {
  std::vector<std::string> lines;
  for (const std::string& setting : options.shared_settings()) {
    if (decides_results(setting, options.layer.combine)) lines.push_back(setting);
  }
  lines.push_back(fmt::format("model {} with tensors {:016x}", printable(inputs.model().config().name),
                              inputs.model().digest()));
  lines.push_back(fmt::format("--layers {}", fmt::join(inputs.layers(), ",")));
  lines.push_back(input_line(inputs));
  lines.push_back(fmt::format("{} tokens per step", inputs.tokens().num_tokens()));
  lines.push_back(routing_line(inputs, options));
  lines.push_back("instructions " + instruction_set());
  if (device != nullptr) lines.push_back("on " + device->description());
  const bool is_fair = options.layer.capacity && options.layer.capacity->is_fair;
  if (options.layer.combine == Combine::fast || is_fair) {
    lines.push_back(fmt::format("{} ranks on {} nodes", topology.num_ranks(), topology.num_nodes()));
  }
  return fmt::format("{}\n", fmt::join(lines, "\n"));
}

}  // namespace moewe
