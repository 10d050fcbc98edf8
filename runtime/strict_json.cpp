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

/// Follows the parser through the objects that are open and remembers their keys. Keeps nothing else: a first
/// pass, before anything is built.
class StrictnessCheck : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit StrictnessCheck(const std::string& where) : where_(where) {}

  bool start_object(std::size_t /*unknown*/) override { return open(); }
  bool start_array(std::size_t /*unknown*/) override { return open(); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    if (!open_.back().insert(name).second) {
      throw InvalidInput(fmt::format("{}: key '{}' stands twice in one object", where_, name));
    }
    return true;
  }

  bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                   const nlohmann::json::exception& error) override {
    throw InvalidInput(fmt::format("{}: not valid JSON: {}", where_, error.what()));
  }

  bool null() override { return true; }
  bool boolean(bool /*value*/) override { return true; }
  bool number_integer(std::int64_t /*value*/) override { return true; }
  bool number_unsigned(std::uint64_t /*value*/) override { return true; }
  bool number_float(double /*value*/, const std::string& /*text*/) override { return true; }
  bool string(std::string& /*value*/) override { return true; }
  bool binary(nlohmann::json::binary_t& /*value*/) override { return true; }

 private:
  bool open() {
    if (open_.size() == max_depth) {
      throw InvalidInput(fmt::format("{}: JSON is nested deeper than {}", where_, max_depth));
    }
    open_.emplace_back();
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  const std::string& where_;
  std::vector<std::set<std::string>> open_;  // the keys of each open object or array
};

}  // namespace

nlohmann::json parse_strict_json(std::string_view text, const std::string& where) {
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (text.find('\0') != std::string_view::npos || text.substr(0, 3) == byte_order_mark) {
    throw InvalidInput(
        fmt::format("{}: not valid JSON: begins with a byte order mark or contains a NUL", where));
  }
  StrictnessCheck check(where);
  nlohmann::json::sax_parse(text, &check);
  return nlohmann::json::parse(text);
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
