#include "launch/load_file.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <utility>

#include "comm/error.hpp"
#include "launch/table_json.hpp"
#include "launch/trace.hpp"
#include "placement/split.hpp"
#include "runtime/input_file.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t file_format = 1;
constexpr std::size_t most_experts_of_trace = std::size_t{1} << 16U;
constexpr std::size_t most_windows = 4096;

/// What the rules of a history refuse is the file's fault.
template <typename Make>
auto blamed_on(const std::string& where, Make&& make) {
  try {
    return make();
  } catch (const InvalidInput& error) {
    throw InvalidInput(fmt::format("{}: {}", where, error.what()));
  }
}

LoadHistory history_of(const std::vector<LoadTable>& windows, const std::string& where) {
  return blamed_on(where, [&] {
    HistoryOptions options;
    options.num_windows = std::clamp<std::size_t>(windows.size(), 2, most_windows);
    LoadHistory history(windows.front().size(), windows.front().front().size(), options);
    for (const LoadTable& window : windows) history.add(window);
    return history;
  });
}

bool is_table(const Json& json) {
  return json.is_array() && !json.empty() && json[0].is_array() && !json[0].empty() && !json[0][0].is_array();
}

/// The tables below `num_more` dimensions or fewer.
void collect_windows(const Json& json, int num_more, const std::string& where,
                     std::vector<LoadTable>& windows) {
  if (num_more == 0 || !json.is_array() || is_table(json)) {
    windows.push_back(number_table(json, max_total_load, where));
    return;
  }
  for (std::size_t i = 0; i < json.size(); ++i)
    collect_windows(json[i], num_more - 1, fmt::format("{}[{}]", where, i), windows);
}

LoadHistory parse_sglang(const Json& json, const std::string& where) {
  constexpr int most_dimensions_in_front = 2;
  std::vector<LoadTable> windows;
  collect_windows(json, most_dimensions_in_front, where + ": logical_count", windows);
  if (windows.empty()) throw InvalidInput(where + ": logical_count is empty");
  return history_of(windows, where);
}

LoadTable table_in(const Json& json, const char* name, const std::string& where) {
  constexpr std::int64_t most = max_total_load * LoadHistory::parts;
  return number_table(member_of(json, name, where), most, fmt::format("{}: {}", where, name));
}

std::vector<LoadTable> tables_in(const Json& json, const char* name, const std::string& where) {
  const Json& list = member_of(json, name, where);
  require_array(list, fmt::format("{}: {}", where, name));
  std::vector<LoadTable> tables;
  for (const Json& table : list)
    tables.push_back(
        number_table(table, max_total_load, fmt::format("{}: {}[{}]", where, name, tables.size())));
  return tables;
}

std::int64_t number_of(const Json& json, const char* name, std::int64_t most, const std::string& where) {
  return whole_number(member_of(json, name, where), most, fmt::format("{}: {}", where, name));
}

LoadHistory parse_own(const Json& json, const std::string& where) {
  constexpr std::int64_t most = 1 << 30;
  LoadHistory::State state;
  state.options = {static_cast<std::size_t>(number_of(json, "num_windows", most, where)),
                   static_cast<unsigned>(number_of(json, "fast_shift", most, where)),
                   static_cast<unsigned>(number_of(json, "slow_shift", most, where)),
                   static_cast<std::size_t>(number_of(json, "num_sources", most, where))};
  state.num_windows_seen =
      static_cast<std::uint64_t>(number_of(json, "num_windows_seen", max_total_load, where));
  state.total = table_in(json, "total", where);
  state.fast = table_in(json, "fast", where);
  state.slow = table_in(json, "slow", where);
  const std::vector<LoadTable> windows = tables_in(json, "windows", where);
  state.windows = {windows.begin(), windows.end()};
  state.by_source = tables_in(json, "by_source", where);
  return blamed_on(where, [&] { return LoadHistory(std::move(state)); });
}

/// Adds the choices of one layer in one step of a trace.
void count_choices(const Trace& trace, const TraceStep& step, std::vector<std::int64_t>& loads) {
  constexpr std::size_t tokens_at_once = 1024;
  std::vector<ExpertId> ids(tokens_at_once * trace.top_k());
  std::vector<float> weights(ids.size());
  for (std::size_t first = 0; first < step.num_tokens; first += tokens_at_once) {
    const std::size_t count = std::min(tokens_at_once, step.num_tokens - first);
    const std::size_t num_ids = count * trace.top_k();
    trace.read(step, {first, count}, std::span(ids).first(num_ids), std::span(weights).first(num_ids));
    for (std::size_t i = 0; i < num_ids; ++i) {
      if (loads.size() <= index(ids[i])) loads.resize(index(ids[i]) + 1, 0);
      ++loads[index(ids[i])];
    }
  }
}

LoadHistory read_trace(const std::filesystem::path& path, std::optional<std::size_t> num_experts) {
  const Trace trace(path, num_experts.value_or(most_experts_of_trace));
  const std::size_t num_tokens = trace.tokens_per_step();
  std::vector<LoadTable> windows(trace.num_tokens() / num_tokens, LoadTable(trace.num_layers()));
  std::size_t most_experts = num_experts.value_or(1);
  for (std::size_t step = 0; step < windows.size(); ++step) {
    for (std::size_t layer = 0; layer < trace.num_layers(); ++layer) {
      std::vector<std::int64_t>& loads = windows[step][layer];
      count_choices(trace, {layer, step, num_tokens}, loads);
      most_experts = std::max(most_experts, loads.size());
    }
  }
  for (LoadTable& window : windows) {
    for (std::vector<std::int64_t>& loads : window) loads.resize(most_experts, 0);
  }
  return history_of(windows, path.string());
}

}  // namespace

bool looks_like_json(const std::string& first_bytes) {
  const std::size_t first = first_bytes.find_first_not_of(" \t\r\n");
  return first != std::string::npos && first_bytes[first] == '{' &&
         first_bytes.find('\0') == std::string::npos;
}

LoadHistory parse_loads(const std::string& text, const std::string& where) {
  const Json json = parse_strict_json(text, where);
  if (json.is_object() && json.contains("logical_count")) return parse_sglang(json["logical_count"], where);
  if (!json.is_object() || !json.contains("moewe_loads")) {
    throw InvalidInput(where + ": has no loads: neither 'logical_count' nor 'moewe_loads' is there");
  }
  if (json["moewe_loads"] != file_format) {
    throw InvalidInput(fmt::format("{}: moewe_loads, the format, must be {}", where, file_format));
  }
  return parse_own(json, where);
}

bool is_trace(const std::filesystem::path& path) {
  constexpr std::size_t enough = 16;
  const InputFile file(path);
  std::string first(static_cast<std::size_t>(std::min<std::uint64_t>(enough, file.num_bytes())), '\0');
  file.read(0, std::as_writable_bytes(std::span(first)));
  return !looks_like_json(first);
}

LoadHistory read_loads(const std::filesystem::path& path, std::optional<std::size_t> num_experts) {
  if (is_trace(path)) return read_trace(path, num_experts);
  LoadHistory history = parse_loads(read_text(path, max_placement_file_bytes), path.string());
  if (num_experts && *num_experts != history.num_experts()) {
    throw InvalidInput(
        fmt::format("{}: has {} experts, not {}", path.string(), history.num_experts(), *num_experts));
  }
  return history;
}

std::string to_json(const LoadHistory& history) {
  const nlohmann::ordered_json json{{"moewe_loads", file_format},
                                    {"num_windows", history.options().num_windows},
                                    {"fast_shift", history.options().fast_shift},
                                    {"slow_shift", history.options().slow_shift},
                                    {"num_sources", history.options().num_sources},
                                    {"num_windows_seen", history.num_windows_seen()},
                                    {"total", history.total()},
                                    {"fast", history.fast()},
                                    {"slow", history.slow()},
                                    {"windows", history.windows()},
                                    {"by_source", history.by_source()}};
  return json.dump() + "\n";
}

}  // namespace moewe
