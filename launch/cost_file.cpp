#include "launch/cost_file.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>

#include "comm/error.hpp"
#include "launch/table_json.hpp"
#include "runtime/input_file.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t file_format = 1;
constexpr std::size_t max_file_bytes = std::size_t{1} << 20U;

/// Throws for anything but an object with no other members.
void require_known(const Json& json, const std::set<std::string>& names, const std::string& where) {
  if (!json.is_object()) throw InvalidInput(where + ": must be an object");
  for (const auto& member : json.items()) {
    if (names.count(member.key()) == 0)
      throw InvalidInput(fmt::format("{}: '{}' is not known", where, printable(member.key())));
  }
}

std::int64_t number_in(const Json& json, const char* name, const std::string& where) {
  return whole_number(member_of(json, name, where), max_coefficient, fmt::format("{}: {}", where, name));
}

RowTimes times_in(const Json& json, const char* name, const std::string& where) {
  const Json& times = member_of(json, name, where);
  const std::string place = fmt::format("{}: {}", where, name);
  require_known(times, {"dispatch_row_ps", "return_row_ps"}, place);
  return {number_in(times, "dispatch_row_ps", place), number_in(times, "return_row_ps", place)};
}

bool returns_sums(const Json& json, const std::string& where) {
  const Json& combine = member_of(json, "combine", where);
  if (combine == "fast" || combine == "reproducible") return combine == "fast";
  throw InvalidInput(where + ": combine must be \"reproducible\" or \"fast\"");
}

Json json_of(const RowTimes& times) {
  return {{"dispatch_row_ps", times.dispatch}, {"return_row_ps", times.back}};
}

}  // namespace

CostCoefficients parse_costs(const std::string& text, std::size_t num_ranks, const std::string& where) {
  const Json json = parse_strict_json(text, where);
  require_known(json,
                {"moewe_costs", "top_k", "tile_rows", "row_ps", "weight_read_ps", "expert_ps", "inside_nodes",
                 "between_nodes", "combine", "slowness"},
                where);
  if (member_of(json, "moewe_costs", where) != file_format)
    throw InvalidInput(fmt::format("{}: moewe_costs, the format, must be {}", where, file_format));
  CostCoefficients costs;
  costs.top_k = number_in(json, "top_k", where);
  costs.tile_rows = number_in(json, "tile_rows", where);
  costs.row = number_in(json, "row_ps", where);
  costs.weight_read = number_in(json, "weight_read_ps", where);
  costs.expert = number_in(json, "expert_ps", where);
  costs.inside_nodes = times_in(json, "inside_nodes", where);
  costs.between_nodes = times_in(json, "between_nodes", where);
  costs.returns_sums = returns_sums(json, where);
  if (json.contains("slowness"))
    costs.slowness = number_row(json["slowness"], max_coefficient, where + ": slowness");
  try {
    check_coefficients(costs, num_ranks);
  } catch (const InvalidInput& error) {
    throw InvalidInput(fmt::format("{}: {}", where, error.what()));
  }
  return costs;
}

CostCoefficients read_costs(const std::filesystem::path& path, std::size_t num_ranks) {
  return parse_costs(read_text(path, max_file_bytes), num_ranks, path.string());
}

std::string to_json(const CostCoefficients& costs) {
  nlohmann::ordered_json json{{"moewe_costs", file_format},
                              {"top_k", costs.top_k},
                              {"tile_rows", costs.tile_rows},
                              {"row_ps", costs.row},
                              {"weight_read_ps", costs.weight_read},
                              {"expert_ps", costs.expert},
                              {"inside_nodes", json_of(costs.inside_nodes)},
                              {"between_nodes", json_of(costs.between_nodes)},
                              {"combine", costs.returns_sums ? "fast" : "reproducible"}};
  if (!costs.slowness.empty()) json["slowness"] = costs.slowness;
  return json.dump() + "\n";
}

}  // namespace moewe
