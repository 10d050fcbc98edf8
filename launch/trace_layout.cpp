#include "launch/trace_layout.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <fmt/format.h>
#include <vector>

#include "comm/error.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

constexpr std::string_view npy_magic = "\x93NUMPY";

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <typename T>
T value_at(std::span<const std::byte> bytes, std::size_t i) {
  T value;
  std::memcpy(&value, bytes.subspan(i * sizeof value, sizeof value).data(), sizeof value);
  return value;
}

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw InvalidInput(fmt::format("{}: {}", where, what));
}

/// What the dictionary at the beginning of a .npy file says.
struct NpyHeader {
  std::optional<std::string> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<std::size_t>> shape;
};

/// Reads {'descr': '|u1', 'fortran_order': False, 'shape': (366, 32, 2), } with the keys in any order.
class NpyHeaderReader {
 public:
  NpyHeaderReader(std::string_view text, const std::string& where) : text_(text), where_(where) {}

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
    if (!header_.descr || !header_.fortran_order || !header_.shape) refuse();
    return header_;
  }

 private:
  void read_entry() {
    const std::string key = read_string();
    expect(':');
    if (key == "descr" && !header_.descr) {
      header_.descr = read_string();
    } else if (key == "fortran_order" && !header_.fortran_order) {
      header_.fortran_order = read_bool();
    } else if (key == "shape" && !header_.shape) {
      header_.shape = read_shape();
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
  NpyHeader header_;
};

std::string dtype_of_npy(const std::string& descr, const std::string& where) {
  constexpr std::array<std::array<const char*, 2>, 4> known{
      {{"|u1", "U8"}, {"<i2", "I16"}, {"<i4", "I32"}, {"<i8", "I64"}}};
  for (const auto& [npy, ours] : known) {
    if (descr == npy) return ours;
  }
  fail(where, fmt::format("has dtype '{}'; |u1, <i2, <i4 and <i8 can be read", printable(descr)));
}

/// Length of what stands before the dictionary, and of the dictionary.
std::pair<std::size_t, std::size_t> npy_header_place(std::span<const std::byte> first_bytes,
                                                     const std::string& where) {
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
  return {begin, major == 1 ? value_at<std::uint16_t>(length, 0) : value_at<std::uint32_t>(length, 0)};
}

void require_not_empty(const TraceLayout& layout, const std::string& where) {
  if (layout.steps * layout.layers * layout.tokens * layout.top_k > 0) return;
  fail(where, fmt::format("an empty trace: {} steps of {} tokens, {} layers and top-{}", layout.steps,
                          layout.tokens, layout.layers, layout.top_k));
}

/// Throws for a type that cannot be read.
void require_dtype(const TensorInfo& tensor, const std::string& name,
                   std::initializer_list<std::string_view> known, const std::string& where) {
  if (std::find(known.begin(), known.end(), tensor.dtype) != known.end()) return;
  fail(where, fmt::format("tensor '{}' has dtype {}; {} can be read", name, tensor.dtype,
                          name == "topk_ids" ? "U8, I16 and I32" : "F32 and BF16"));
}

}  // namespace

TraceLayout layout_of_safetensors(const TensorMap& tensors, const std::string& where) {
  for (const auto& [name, tensor] : tensors) {
    if (name.rfind("topk_", 0) == 0 && name != "topk_ids" && name != "topk_weights") {
      fail(where, fmt::format("tensor '{}' is neither topk_ids nor topk_weights", printable(name)));
    }
  }
  const auto ids = tensors.find("topk_ids");
  if (ids == tensors.end()) fail(where, "tensor 'topk_ids' is missing");
  const std::vector<std::size_t>& shape = ids->second.shape;
  if (shape.size() != 4) {
    fail(where, fmt::format("tensor 'topk_ids' has shape {} instead of [steps, layers, tokens, k]",
                            describe_shape(shape)));
  }
  require_dtype(ids->second, "topk_ids", {"U8", "I16", "I32"}, where);
  TraceLayout layout{.steps = shape[0],
                     .layers = shape[1],
                     .tokens = shape[2],
                     .top_k = shape[3],
                     .tokens_per_step = shape[2],
                     .ids = {ids->second.dtype, ids->second.offset},
                     .weights = {}};
  if (const auto weights = tensors.find("topk_weights"); weights != tensors.end()) {
    require_dtype(weights->second, "topk_weights", {"F32", "BF16"}, where);
    if (weights->second.shape != shape) {
      fail(where, fmt::format("tensor 'topk_weights' has shape {}, but topk_ids {}",
                              describe_shape(weights->second.shape), describe_shape(shape)));
    }
    layout.weights = TraceArray{weights->second.dtype, weights->second.offset};
  }
  require_not_empty(layout, where);
  return layout;
}

TraceLayout layout_of_npy(std::span<const std::byte> first_bytes, std::uint64_t file_bytes,
                          const std::string& where) {
  const auto [begin, length] = npy_header_place(first_bytes, where);
  if (length > npy_first_bytes - begin) {
    fail(where,
         fmt::format("a header of {} bytes is longer than the {} allowed", length, npy_first_bytes - begin));
  }
  if (length > first_bytes.size() - begin) fail(where, "the file ends inside its header");
  const NpyHeader header = NpyHeaderReader(as_text(first_bytes.subspan(begin, length)), where).read();
  if (*header.fortran_order) fail(where, "is in Fortran order; only C order can be read");
  if (header.shape->size() != 3) {
    fail(where, fmt::format("has shape {} instead of [tokens, layers, k]", describe_shape(*header.shape)));
  }
  const std::vector<std::size_t>& shape = *header.shape;
  const TraceLayout layout{.steps = shape[0],
                           .layers = shape[1],
                           .tokens = 1,
                           .top_k = shape[2],
                           .tokens_per_step = shape[0],
                           .ids = {dtype_of_npy(*header.descr, where), begin + length},
                           .weights = {}};
  std::uint64_t num_bytes = bytes_per_element(layout.ids.dtype);
  bool overflows = false;
  for (const std::size_t n : shape) overflows = __builtin_mul_overflow(num_bytes, n, &num_bytes) || overflows;
  if (overflows || num_bytes != file_bytes - layout.ids.offset) {
    fail(where, fmt::format("holds {} bytes of data, which are not those of shape {} and dtype {}",
                            file_bytes - layout.ids.offset, describe_shape(shape), *header.descr));
  }
  require_not_empty(layout, where);
  return layout;
}

bool is_npy(std::span<const std::byte> first_bytes) {
  return as_text(first_bytes).substr(0, npy_magic.size()) == npy_magic;
}

std::size_t bytes_per_element(std::string_view dtype) {
  if (dtype == "U8") return 1;
  if (dtype == "I16" || dtype == "BF16") return 2;
  return dtype == "I64" ? 8 : 4;
}

std::int64_t id_at(std::span<const std::byte> bytes, std::string_view dtype, std::size_t i) {
  if (dtype == "U8") return value_at<std::uint8_t>(bytes, i);
  if (dtype == "I16") return value_at<std::int16_t>(bytes, i);
  return dtype == "I64" ? value_at<std::int64_t>(bytes, i) : value_at<std::int32_t>(bytes, i);
}

float weight_at(std::span<const std::byte> bytes, std::string_view dtype, std::size_t i) {
  if (dtype == "F32") return value_at<float>(bytes, i);
  return std::bit_cast<float>(static_cast<std::uint32_t>(value_at<std::uint16_t>(bytes, i)) << 16);
}

}  // namespace moewe
