#include "launch/tensorrt_map.hpp"

#include <charconv>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>

#include "comm/error.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

constexpr std::string_view blanks = " \t\r";

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

/// What stands before a comment.
std::string_view without_comment(std::string_view line) {
  const std::size_t hash = line.find('#');
  return hash == std::string_view::npos ? line : line.substr(0, hash);
}

class Parser {
 public:
  explicit Parser(const std::string& where) : where_(where) {}

  void read_line(std::string_view raw) {
    ++line_;
    const std::string_view line = without_comment(raw);
    const std::string_view text = trimmed(line);
    if (text.empty() || text == "---") return;
    if (line.find('\t') != std::string_view::npos) fail("tabs cannot indent");
    if (is_in_list_) {
      read_items(text);
    } else if (text.front() == '-') {
      read_dash(text);
    } else if (line.front() == ' ') {
      read_layer(text);
    } else {
      read_key(text);
    }
  }

  SlotLists finish() {
    if (is_in_list_) fail("a list has no end");
    if (lists_.empty()) fail("initial_global_assignments is missing or empty");
    for (const auto& [layer, slots] : lists_) {
      const std::size_t expected =
          num_slots_ ? static_cast<std::size_t>(*num_slots_) : lists_.begin()->second.size();
      if (slots.size() != expected || slots.empty()) {
        throw InvalidInput(
            fmt::format("{}: layer {} has {} slots, not {}", where_, layer, slots.size(), expected));
      }
    }
    return std::move(lists_);
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    throw InvalidInput(fmt::format("{}: line {}: {}", where_, line_, what));
  }

  std::int64_t number_in(std::string_view text) const {
    std::int32_t number = 0;
    const auto [stopped, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (failure == std::errc{} && stopped == text.data() + text.size() && number >= 0) return number;
    fail(fmt::format("'{}' is not a whole number below 2^31", printable(text)));
  }

  /// "key: value" at the beginning of a line.
  void read_key(std::string_view text) {
    const std::size_t colon = text.find(':');
    const std::string_view key = text.substr(0, colon);
    const std::string_view value = colon == std::string_view::npos ? "" : trimmed(text.substr(colon + 1));
    if (colon == std::string_view::npos || !keys_.insert(std::string(key)).second)
      fail(fmt::format("'{}' is no key that is new", printable(text)));
    layer_ = nullptr;
    is_in_layers_ = key == "initial_global_assignments";
    if (is_in_layers_ && value.empty()) return;
    if (key == "num_slots") {
      num_slots_ = number_in(value);
    } else if (key == "layer_updates_per_iter") {
      number_in(value);
    } else {
      fail(fmt::format(
          "'{}' is not one of num_slots, initial_global_assignments (with layers in lines of their "
          "own) and layer_updates_per_iter",
          printable(key)));
    }
  }

  /// "3:", or "3: [0, 1".
  void read_layer(std::string_view text) {
    const std::size_t colon = text.find(':');
    if (!is_in_layers_ || colon == std::string_view::npos)
      fail(fmt::format("'{}' is no layer of initial_global_assignments", printable(text)));
    const auto [layer, is_new] = lists_.try_emplace(number_in(text.substr(0, colon)));
    if (!is_new) fail(fmt::format("layer {} stands there twice", layer->first));
    layer_ = &layer->second;
    const std::string_view value = trimmed(text.substr(colon + 1));
    has_dashes_ = value.empty();
    if (has_dashes_) return;
    if (value.front() != '[') fail("a layer's slots must be a list such as [0, 1]");
    is_in_list_ = true;
    read_items(value.substr(1));
  }

  /// "- 3"
  void read_dash(std::string_view text) {
    if (layer_ == nullptr || !has_dashes_) fail("a slot belongs to no layer");
    layer_->push_back(number_in(trimmed(text.substr(1))));
  }

  /// "0, 1, 2]", or a part of it that ends in a comma.
  void read_items(std::string_view text) {
    const bool is_end = text.ends_with(']');
    std::string_view rest = trimmed(is_end ? text.substr(0, text.size() - 1) : text);
    if (!is_end && !rest.empty() && rest.back() != ',') fail("a list goes on after a comma only");
    while (!rest.empty()) {
      const std::size_t comma = rest.find(',');
      layer_->push_back(number_in(trimmed(rest.substr(0, comma))));
      rest = comma == std::string_view::npos ? std::string_view{} : trimmed(rest.substr(comma + 1));
    }
    is_in_list_ = !is_end;
  }

  const std::string& where_;
  std::size_t line_ = 0;
  std::set<std::string> keys_;
  std::optional<std::int64_t> num_slots_;
  SlotLists lists_;
  std::vector<std::int64_t>* layer_ = nullptr;  // whose slots come next
  bool is_in_layers_ = false;
  bool has_dashes_ = false;
  bool is_in_list_ = false;
};

}  // namespace

SlotLists parse_tensorrt_map(const std::string& text, const std::string& where) {
  if (text.find('\0') != std::string::npos) throw InvalidInput(where + ": is not text");
  Parser parser(where);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) parser.read_line(line);
  return parser.finish();
}

std::string tensorrt_text(const SlotLists& lists) {
  std::string text = fmt::format("num_slots: {}\ninitial_global_assignments:\n",
                                 lists.empty() ? 0 : lists.begin()->second.size());
  for (const auto& [layer, slots] : lists) text += fmt::format("  {}: [{}]\n", layer, fmt::join(slots, ", "));
  return text + "layer_updates_per_iter: 0\n";
}

}  // namespace moewe
