#include "runtime/strict_json.hpp"

#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <vector>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr std::size_t max_depth = 32;

/// Follows the parser through the objects that are open and remembers their keys.
class StrictnessCheck {
 public:
  explicit StrictnessCheck(const std::string& where) : where_(where) {}

  bool operator()(int depth, nlohmann::json::parse_event_t event, const nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (static_cast<std::size_t>(depth) > max_depth) {
      throw InvalidInput(fmt::format("{}: JSON is nested deeper than {}", where_, max_depth));
    }
    if (event == Event::object_start) open_objects_.emplace_back();
    if (event == Event::object_end) open_objects_.pop_back();
    if (event == Event::key && !open_objects_.back().insert(parsed.get<std::string>()).second) {
      throw InvalidInput(
          fmt::format("{}: key '{}' stands twice in one object", where_, parsed.get<std::string>()));
    }
    return true;
  }

 private:
  const std::string& where_;
  std::vector<std::set<std::string>> open_objects_;
};

}  // namespace

nlohmann::json parse_strict_json(std::string_view text, const std::string& where) {
  StrictnessCheck check(where);
  try {
    return nlohmann::json::parse(text, std::ref(check));
  } catch (const nlohmann::json::exception& error) {
    throw InvalidInput(fmt::format("{}: not valid JSON: {}", where, error.what()));
  }
}

std::string read_text(const std::filesystem::path& path, std::size_t max_bytes) {
  std::error_code failure;
  const std::uintmax_t bytes = std::filesystem::file_size(path, failure);
  if (failure) throw InvalidInput(fmt::format("{}: {}", path.string(), failure.message()));
  if (bytes > max_bytes) {
    throw InvalidInput(
        fmt::format("{}: {} bytes are more than the {} allowed", path.string(), bytes, max_bytes));
  }
  std::ifstream file(path, std::ios::binary);
  std::string text(static_cast<std::size_t>(bytes), '\0');
  file.read(text.data(), static_cast<std::streamsize>(bytes));
  if (!file) throw InvalidInput(fmt::format("{}: cannot be read", path.string()));
  return text;
}

}  // namespace moewe
