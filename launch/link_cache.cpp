#include "launch/link_cache.hpp"

#include <cstdlib>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>
#include <xxhash.h>

#include "comm/error.hpp"
#include "comm/log.hpp"
#include "launch/commit_text.hpp"
#include "runtime/atomic_file.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

using Json = nlohmann::json;

constexpr std::size_t max_file_bytes = std::size_t{1} << 16U;
constexpr int file_format = 1;

Json json_of(const std::optional<LinkCost>& cost) {
  if (!cost) return nullptr;
  return {{"latency_s", cost->latency_s}, {"s_per_byte", cost->s_per_byte}};
}

Json json_of(const LinkCosts& costs) {
  Json carriers = Json::array();
  for (const CarrierCosts& carrier : costs.carriers) {
    carriers.push_back({{"carrier", carrier.carrier},
                        {"between_nodes", json_of(carrier.between_nodes)},
                        {"inside_nodes", json_of(carrier.inside_nodes)}});
  }
  return {{"carriers", carriers}, {"memory", json_of(costs.memory)}};
}

/// Members of an object, of which there are no others.
const Json& member(const Json& json, const char* name, std::size_t num_members, const std::string& where) {
  if (!json.is_object() || json.size() != num_members || !json.contains(name)) {
    throw InvalidInput(fmt::format("{}: {} is not where it should be", where, name));
  }
  return json[name];
}

double number_in(const Json& json, const char* name, double most, const std::string& where) {
  const Json& value = member(json, name, 2, where);
  const double number = value.is_number() ? value.get<double>() : -1;
  if (number > 0 && number <= most) return number;
  throw InvalidInput(fmt::format("{}: {} must be above 0 and at most {}", where, name, most));
}

std::optional<LinkCost> cost_of(const Json& json, const std::string& where) {
  constexpr double max_latency_s = 100;
  constexpr double max_s_per_byte = 1;
  if (json.is_null()) return std::nullopt;
  return LinkCost{number_in(json, "latency_s", max_latency_s, where),
                  number_in(json, "s_per_byte", max_s_per_byte, where)};
}

LinkCosts costs_of(const Json& json, const std::string& where) {
  constexpr std::size_t max_carriers = 8;
  LinkCosts costs;
  const Json& carriers = member(json, "carriers", 2, where);
  if (!carriers.is_array() || carriers.empty() || carriers.size() > max_carriers)
    throw InvalidInput(where + ": carriers must be a list of a few");
  std::set<std::string> names;
  for (const Json& carrier : carriers) {
    const Json& name = member(carrier, "carrier", 3, where);
    if (!name.is_string() || !names.insert(name.get<std::string>()).second)
      throw InvalidInput(where + ": carriers must have names of their own");
    costs.carriers.push_back({name.get<std::string>(),
                              cost_of(member(carrier, "between_nodes", 3, where), where),
                              cost_of(member(carrier, "inside_nodes", 3, where), where)});
  }
  costs.memory = cost_of(member(json, "memory", 2, where), where);
  return costs;
}

std::int64_t seconds(LinkCache::Time time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

/// Throws InvalidInput.
LinkCosts parse_file(const std::string& text, const ClusterKey& key, LinkCache::Time now,
                     const std::string& where) {
  constexpr std::size_t num_members = 4;
  const Json json = parse_strict_json(text, where);
  if (member(json, "format", num_members, where) != file_format) {
    throw InvalidInput(fmt::format("{}: the format is not {}", where, file_format));
  }
  if (member(json, "cluster", num_members, where) != key.text)
    throw InvalidInput(where + ": it is of another cluster");
  const Json& measured = member(json, "measured_unix_s", num_members, where);
  const bool is_fresh = measured.is_number_integer() && measured.get<std::int64_t>() <= seconds(now) &&
                        measured.get<std::int64_t>() >= seconds(now - LinkCache::lifetime);
  if (!is_fresh) throw InvalidInput(where + ": it was not measured in the last 30 days");
  return costs_of(member(json, "links", num_members, where), where);
}

/// The folder that a variable names. Relative ones, which would be another on every run, do not count.
std::optional<std::filesystem::path> folder_from(const char* variable, const char* below) {
  const char* value = std::getenv(variable);
  if (value == nullptr || *value != '/') return std::nullopt;
  return std::filesystem::path(value) / below;
}

}  // namespace

std::optional<LinkCache> LinkCache::of_user() {
  for (const auto& [variable, below] :
       {std::pair{"MOEWE_CACHE_DIR", ""}, {"XDG_CACHE_HOME", "moewe"}, {"HOME", ".cache/moewe"}}) {
    if (const auto folder = folder_from(variable, below)) return LinkCache(*folder);
  }
  return std::nullopt;
}

std::filesystem::path LinkCache::file_of(const ClusterKey& key) const {
  return folder_ / fmt::format("links-{:016x}.json", XXH3_64bits(key.text.data(), key.text.size()));
}

std::optional<LinkCosts> LinkCache::read(const ClusterKey& key, Time now) const {
  const std::filesystem::path file = file_of(key);
  try {
    std::error_code unknown;
    if (!std::filesystem::exists(file, unknown) && !unknown) return std::nullopt;
    return parse_file(read_text(file, max_file_bytes), key, now, file.string());
  } catch (const std::exception& error) {
    log(LogLevel::warning, fmt::format("{}; links are measured anew", printable(error.what())));
    return std::nullopt;
  }
}

void LinkCache::write(const ClusterKey& key, const LinkCosts& costs, Time now) const {
  const Json json{{"format", file_format},
                  {"cluster", key.text},
                  {"measured_unix_s", seconds(now)},
                  {"links", json_of(costs)}};
  constexpr int indent = 1;
  const std::string text = json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
  try {
    std::filesystem::create_directories(folder_);
    AtomicFile file(file_of(key));
    commit_text(file, text);
  } catch (const std::exception& error) {
    log(LogLevel::warning, fmt::format("{}; the next run measures the links again", printable(error.what())));
  }
}

std::string to_text(const LinkCosts& costs) { return json_of(costs).dump(); }

LinkCosts parse_link_costs(const std::string& text, const std::string& where) {
  return costs_of(parse_strict_json(text, where), where);
}

}  // namespace moewe
