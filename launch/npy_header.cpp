#include "launch/npy_header.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fmt/format.h>
#include <optional>
#include <string_view>
#include <utility>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr std::string_view npy_magic = "\x93NUMPY";

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The little-endian number that `bytes` begin with.
template <typename T>
T number_at(std::span<const std::byte> bytes) {
  T number;
  std::memcpy(&number, bytes.first(sizeof number).data(), sizeof number);
  return number;
}

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw InvalidInput(fmt::format("{}: {}", where, what));
}

/// Reads {'descr': '|u1', 'fortran_order': False, 'shape': (366, 32, 2), } with the keys in any order.
class DictionaryReader {
 public:
  DictionaryReader(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  NpyHeader read() {
    expect('{');
    while (!accept('}')) {
      read_entry();
      if (accept(',')) continue;
      expect('}');
      break;
    }
    skip_space();
    if (!text_.empty()) refuse();
    if (!descr_ || !fortran_order_ || !shape_) refuse();
    return {*descr_, *fortran_order_, *shape_, 0};
  }

 private:
  void read_entry() {
    const std::string key = read_string();
    expect(':');
    if (key == "descr" && !descr_) {
      descr_ = read_string();
    } else if (key == "fortran_order" && !fortran_order_) {
      fortran_order_ = read_bool();
    } else if (key == "shape" && !shape_) {
      shape_ = read_shape();
    } else {
      refuse();
    }
  }

  std::string read_string() {
    skip_space();
    const char quote = text_.empty() ? '\0' : text_.front();
    if (quote != '\'' && quote != '"') refuse();
    const std::size_t end = text_.find(quote, 1);
    if (end == std::string_view::npos) refuse();
    const std::string value(text_.substr(1, end - 1));
    text_.remove_prefix(end + 1);
    return value;
  }

  bool read_bool() {
    skip_space();
    for (const auto& [word, value] : {std::pair<std::string_view, bool>{"True", true}, {"False", false}}) {
      if (text_.substr(0, word.size()) != word) continue;
      text_.remove_prefix(word.size());
      return value;
    }
    refuse();
  }

  std::vector<std::size_t> read_shape() {
    std::vector<std::size_t> shape;
    expect('(');
    while (!accept(')')) {
      skip_space();
      std::size_t length = 0;
      const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), length);
      if (error != std::errc()) refuse();
      text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
      shape.push_back(length);
      if (accept(',')) continue;
      expect(')');
      break;
    }
    return shape;
  }

  bool accept(char wanted) {
    skip_space();
    if (text_.empty() || text_.front() != wanted) return false;
    text_.remove_prefix(1);
    return true;
  }

  void expect(char wanted) {
    if (!accept(wanted)) refuse();
  }

  void skip_space() { text_.remove_prefix(std::min(text_.find_first_not_of(" \t\n"), text_.size())); }

  [[noreturn]] void refuse() const {
    fail(where_, "the header is not the dictionary of descr, fortran_order and shape that numpy writes");
  }

  std::string_view text_;
  const std::string& where_;
  std::optional<std::string> descr_;
  std::optional<bool> fortran_order_;
  std::optional<std::vector<std::size_t>> shape_;
};

/// In bytes.
struct DictionaryPlace {
  std::size_t begin;
  std::size_t length;
};

DictionaryPlace find_dictionary(std::span<const std::byte> first_bytes, const std::string& where) {
  const std::size_t version_end = npy_magic.size() + 2;
  if (!is_npy(first_bytes) || first_bytes.size() < version_end) fail(where, "not a .npy file");
  const int major = std::to_integer<int>(first_bytes[npy_magic.size()]);
  const int minor = std::to_integer<int>(first_bytes[npy_magic.size() + 1]);
  if (major < 1 || major > 3 || minor != 0) {
    fail(where, fmt::format("is of .npy version {}.{}; 1.0, 2.0 and 3.0 can be read", major, minor));
  }
  const std::size_t length_bytes = major == 1 ? 2 : 4;
  const std::size_t begin = version_end + length_bytes;
  if (first_bytes.size() < begin) fail(where, "the file ends inside its header");
  const auto length = first_bytes.subspan(version_end);
  return {begin, major == 1 ? number_at<std::uint16_t>(length) : number_at<std::uint32_t>(length)};
}

}  // namespace

bool is_npy(std::span<const std::byte> first_bytes) {
  return as_text(first_bytes).substr(0, npy_magic.size()) == npy_magic;
}

NpyHeader read_npy_header(std::span<const std::byte> first_bytes, const std::string& where) {
  const auto [begin, length] = find_dictionary(first_bytes, where);
  if (length > npy_first_bytes - begin) {
    fail(where,
         fmt::format("a header of {} bytes is longer than the {} allowed", length, npy_first_bytes - begin));
  }
  if (length > first_bytes.size() - begin) fail(where, "the file ends inside its header");
  NpyHeader header = DictionaryReader(as_text(first_bytes.subspan(begin, length)), where).read();
  header.data_offset = begin + length;
  return header;
}

}  // namespace moewe
