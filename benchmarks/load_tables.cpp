#include "benchmarks/load_tables.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>

#include "comm/error.hpp"

namespace moewe::bench {
namespace {

std::vector<std::int64_t> read_layer(const nlohmann::json& counts) {
  std::vector<std::int64_t> loads;
  for (const auto& count : counts) loads.push_back(std::llround(count.get<double>()));
  return loads;
}

}  // namespace

std::vector<LoadTable> read_load_tables(const std::string& folder) {
  std::vector<LoadTable> tables;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    std::ifstream file(entry.path());
    const nlohmann::json json = nlohmann::json::parse(file);
    if (!json.contains("logical_count")) continue;
    LoadTable table{entry.path().stem().string(), {}};
    for (const auto& counts : json["logical_count"]) {
      std::vector<std::int64_t> loads = read_layer(counts);
      if (*std::max_element(loads.begin(), loads.end()) > 0) table.layers.push_back(std::move(loads));
    }
    tables.push_back(std::move(table));
  }
  if (tables.empty())
    throw InvalidInput(fmt::format("{}: no table of loads (logical_count) is there", folder));
  std::sort(tables.begin(), tables.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return tables;
}

}  // namespace moewe::bench
