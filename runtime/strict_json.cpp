#include "runtime/strict_json.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>
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
      throw InvalidInput(fmt::format("{}: key '{}' stands twice in one object", where_, printable(name)));
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& /*error*/) override {
    throw InvalidInput(fmt::format("{}: not valid JSON near its byte {}", where_, position));
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

/// How many bytes follow a first byte of UTF-8 and between what the second must lie (Unicode, table 3-7).
struct Utf8Sequence {
  std::size_t length;
  unsigned char lowest_second;
  unsigned char highest_second;
};

Utf8Sequence utf8_sequence(unsigned char first) {
  if (first < 0x80) return {1, 0, 0};
  if (first >= 0xC2 && first <= 0xDF) return {2, 0x80, 0xBF};
  if (first == 0xE0) return {3, 0xA0, 0xBF};
  if (first == 0xED) return {3, 0x80, 0x9F};
  if (first >= 0xE1 && first <= 0xEF) return {3, 0x80, 0xBF};
  if (first == 0xF0) return {4, 0x90, 0xBF};
  if (first >= 0xF1 && first <= 0xF3) return {4, 0x80, 0xBF};
  if (first == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

nlohmann::json parse_strict_json(std::string_view text, const std::string& where) {
  check_strict_json(text, where);
  return nlohmann::json::parse(text);
}

void check_strict_json(std::string_view text, const std::string& where) {
  if (const char* trap = find_json_trap(text)) {
    throw InvalidInput(fmt::format("{}: not valid JSON: {}", where, trap));
  }
  StrictnessCheck check(where);
  nlohmann::json::sax_parse(text, &check);
}

const char* find_json_trap(std::string_view text) {
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (text.substr(0, byte_order_mark.size()) == byte_order_mark) return "begins with a byte order mark";
  return text.find('\0') == std::string_view::npos ? nullptr : "contains a NUL";
}

bool is_utf8(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Sequence sequence = utf8_sequence(at(i));
    if (sequence.length == 0 || sequence.length > text.size() - i) return false;
    for (std::size_t k = 1; k < sequence.length; ++k) {
      const unsigned char lowest = k == 1 ? sequence.lowest_second : 0x80;
      const unsigned char highest = k == 1 ? sequence.highest_second : 0xBF;
      if (at(i + k) < lowest || at(i + k) > highest) return false;
    }
    i += sequence.length;
  }
  return true;
}

std::string printable(std::string_view text) {
  constexpr std::size_t max_length = 200;
  constexpr std::string_view cut = "...";
  std::string result(text.substr(0, max_length));
  if (text.size() > max_length) result.replace(max_length - cut.size(), cut.size(), cut);
  const auto is_control = [](char c) { return (c >= 0 && c < ' ') || c == '\x7F'; };
  std::replace_if(result.begin(), result.end(), is_control, '?');
  return result;
}

}  // namespace moewe
