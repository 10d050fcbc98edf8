#include "launch/table_json.hpp"

#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "comm/error.hpp"

namespace moewe {

std::int64_t whole_number(const nlohmann::json& json, std::int64_t most, const std::string& where) {
  const double value = json.is_number() ? json.get<double>() : -1;
  if (value >= 0 && value <= static_cast<double>(most) && value == std::floor(value))
    return static_cast<std::int64_t>(value);
  throw InvalidInput(fmt::format("{} must be a whole number from 0 to {}", where, most));
}

std::vector<std::int64_t> number_row(const nlohmann::json& json, std::int64_t most,
                                     const std::string& where) {
  require_array(json, where);
  std::vector<std::int64_t> row;
  row.reserve(json.size());
  for (const nlohmann::json& number : json) {
    const bool is_usual =
        number.is_number_unsigned() && number.get<std::uint64_t>() <= static_cast<std::uint64_t>(most);
    row.push_back(is_usual ? number.get<std::int64_t>()
                           : whole_number(number, most, fmt::format("{}[{}]", where, row.size())));
  }
  return row;
}

std::vector<std::vector<std::int64_t>> number_table(const nlohmann::json& json, std::int64_t most,
                                                    const std::string& where) {
  require_array(json, where);
  std::vector<std::vector<std::int64_t>> table;
  for (const nlohmann::json& row : json) {
    const std::string place = fmt::format("{}[{}]", where, table.size());
    table.push_back(number_row(row, most, place));
    if (table.back().empty() || table.back().size() != table.front().size()) {
      throw InvalidInput(fmt::format("{} has {} numbers; every row must have equally many, and one at least",
                                     place, table.back().size()));
    }
  }
  if (table.empty()) throw InvalidInput(where + " is empty");
  return table;
}

const nlohmann::json& member_of(const nlohmann::json& json, const char* name, const std::string& where) {
  if (json.is_object() && json.contains(name)) return json[name];
  throw InvalidInput(fmt::format("{}: '{}' is missing", where, name));
}

void require_array(const nlohmann::json& json, const std::string& where) {
  if (!json.is_array()) throw InvalidInput(where + " must be a list");
}

}  // namespace moewe
