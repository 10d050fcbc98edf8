// The header of a safetensors file, checked and built in one pass over its JSON.

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "comm/error.hpp"
#include "runtime/safetensors.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

constexpr std::size_t max_header_bytes = 100'000'000;
constexpr std::size_t max_dimensions = 8;
constexpr std::size_t max_keys = 1 << 20;  // of the header, and of its metadata

constexpr const char* malformed = "InvalidHeaderDeserialization";

struct DtypeBits {
  std::string_view name;
  std::size_t bits;
};

constexpr std::array<DtypeBits, 22> dtypes{{
    {"BOOL", 8},        {"F4", 4},          {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},   {"I8", 8},
    {"F8_E5M2", 8},     {"F8_E4M3", 8},     {"F8_E8M0", 8}, {"I16", 16},    {"U16", 16}, {"F16", 16},
    {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"BF16", 16},   {"I32", 32},    {"U32", 32}, {"F32", 32},
    {"C64", 64},        {"F64", 64},        {"I64", 64},    {"U64", 64},
}};

const DtypeBits* find_dtype(std::string_view name) {
  const auto* found =
      std::find_if(dtypes.begin(), dtypes.end(), [&](const DtypeBits& dtype) { return dtype.name == name; });
  return found == dtypes.end() ? nullptr : found;
}

[[noreturn]] void fail(const std::string& where, const std::string& what, const char* reference_name) {
  throw InvalidInput(fmt::format("{}: {} ({})", where, what, reference_name));
}

/// Where a tensor lies, from the start of the data.
struct Extent {
  TensorMap::value_type* tensor;
  std::uint64_t begin;
  std::uint64_t end;
};

/// Takes the parser's events. A header has one shape, so every event has one place where it may come:
///   {"__metadata__": {key: string}, name: {"dtype": string, "shape": [n ...], "data_offsets": [n, n]}}
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::string& where) : where_(where) {}

  TensorMap tensors;
  std::vector<Extent> extents;

  bool start_object(std::size_t /*unknown*/) override {
    if (place_ == Place::before) return go(Place::header);
    if (place_ == Place::metadata_value) return go(Place::metadata);
    if (place_ == Place::tensor_value) return go(Place::tensor);
    return refuse();
  }

  bool end_object() override {
    if (place_ == Place::metadata) return go(Place::header);
    if (place_ == Place::tensor) return finish_tensor();
    return go(Place::after);
  }

  bool start_array(std::size_t /*unknown*/) override {
    if (place_ == Place::shape_value) return go(Place::shape);
    if (place_ == Place::offsets_value) return go(Place::offsets);
    return refuse();
  }

  bool end_array() override { return go(Place::tensor); }

  bool key(std::string& name) override {
    if (place_ == Place::header) return name == "__metadata__" ? start_metadata() : start_tensor(name);
    if (place_ == Place::tensor) return start_field(name);
    if (!metadata_keys_.insert(name).second) fail_twice(name);
    if (metadata_keys_.size() > max_keys) fail_malformed(fmt::format("more than {} metadata", max_keys));
    return true;
  }

  bool string(std::string& value) override {
    if (place_ == Place::metadata) return true;
    if (place_ != Place::dtype_value) return refuse();
    if (find_dtype(value) == nullptr) {
      fail_malformed(fmt::format("tensor {} has the unknown dtype '{}'", quoted_name(), printable(value)));
    }
    info().dtype = value;
    return go(Place::tensor);
  }

  bool number_unsigned(std::uint64_t value) override {
    if (place_ == Place::offsets && num_offsets_ < 2) {
      (num_offsets_++ == 0 ? extents.back().begin : extents.back().end) = value;
      return true;
    }
    if (place_ != Place::shape) return refuse();
    if (info().shape.size() == max_dimensions) {
      fail_malformed(fmt::format("tensor {} has more than {} dimensions", quoted_name(), max_dimensions));
    }
    info().shape.push_back(value);
    return true;
  }

  bool null() override { return place_ == Place::metadata_value ? go(Place::header) : refuse(); }
  bool boolean(bool /*value*/) override { return refuse(); }
  bool number_integer(std::int64_t /*negative*/) override { return refuse(); }
  bool number_float(double /*value*/, const std::string& /*text*/) override { return refuse(); }
  bool binary(nlohmann::json::binary_t& /*value*/) override { return refuse(); }

  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& /*may be long*/) override {
    fail_malformed(fmt::format("the header is not valid JSON near its byte {}", position));
  }

 private:
  enum class Place {
    before,
    header,
    metadata_value,
    metadata,
    tensor_value,
    tensor,
    dtype_value,
    shape_value,
    shape,
    offsets_value,
    offsets,
    after,
  };

  bool go(Place place) {
    place_ = place;
    return true;
  }

  bool start_metadata() {
    if (has_metadata_) fail_twice("__metadata__");
    has_metadata_ = true;
    return go(Place::metadata_value);
  }

  bool start_tensor(const std::string& name) {
    if (name.find('\0') != std::string::npos) fail_malformed("a tensor's name contains a NUL");
    if (tensors.size() == max_keys) fail_malformed(fmt::format("more than {} tensors", max_keys));
    const auto [position, is_new] = tensors.try_emplace(name);
    if (!is_new) fail_twice(name);
    extents.push_back({&*position, 0, 0});
    num_offsets_ = 0;
    has_shape_ = has_offsets_ = false;
    return go(Place::tensor_value);
  }

  bool start_field(const std::string& name) {
    if (name == "dtype" && info().dtype.empty()) return go(Place::dtype_value);
    if (name == "shape" && !std::exchange(has_shape_, true)) return go(Place::shape_value);
    if (name == "data_offsets" && !std::exchange(has_offsets_, true)) return go(Place::offsets_value);
    return refuse();
  }

  bool finish_tensor() {
    if (info().dtype.empty() || !has_shape_ || num_offsets_ != 2) refuse();
    return go(Place::header);
  }

  /// What has come cannot stand where it does.
  bool refuse() const {
    if (place_ == Place::before) fail_malformed("the header is not a JSON object");
    if (place_ == Place::metadata || place_ == Place::metadata_value) {
      fail_malformed("__metadata__ is not an object of strings");
    }
    if (place_ == Place::shape || place_ == Place::offsets) {
      fail_malformed(fmt::format("tensor {} has a shape of other than whole numbers, or not two offsets",
                                 quoted_name()));
    }
    fail_malformed(
        fmt::format("tensor {} is not described by dtype, shape and data_offsets, each once", quoted_name()));
  }

  [[noreturn]] void fail_malformed(const std::string& what) const { fail(where_, what, malformed); }
  [[noreturn]] void fail_twice(const std::string& key) const {
    fail_malformed(fmt::format("key '{}' stands twice in one object", printable(key)));
  }

  TensorInfo& info() { return extents.back().tensor->second; }
  std::string quoted_name() const { return fmt::format("'{}'", printable(extents.back().tensor->first)); }

  const std::string& where_;
  Place place_ = Place::before;
  bool has_metadata_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  int num_offsets_ = 0;
  std::set<std::string> metadata_keys_;
};

std::uint64_t bytes_of(const TensorMap::value_type& tensor, const std::string& where) {
  const std::string& name = tensor.first;
  const TensorInfo& info = tensor.second;
  std::uint64_t bits = 1;
  const auto multiply = [&](std::uint64_t factor) {
    if (__builtin_mul_overflow(bits, factor, &bits)) {
      fail(where, fmt::format("the size of tensor '{}' overflows", printable(name)), "ValidationOverflow");
    }
  };
  for (const std::size_t length : info.shape) multiply(length);
  multiply(find_dtype(info.dtype)->bits);
  if (bits % 8 != 0) {
    fail(where, fmt::format("tensor '{}' ends inside a byte", printable(name)), "MisalignedSlice");
  }
  return bits / 8;
}

/// Tensors must follow one another without holes; gives each its place in the file.
void lay_out(std::vector<Extent>& extents, std::uint64_t data_offset, std::uint64_t data_bytes,
             const std::string& where) {
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t next = 0;
  for (const auto& [tensor, begin, end] : extents) {
    if (begin != next || end < begin) {
      fail(where,
           fmt::format("tensor '{}' lies at {}..{}, but must begin at {}", printable(tensor->first), begin,
                       end, next),
           "InvalidOffset");
    }
    const std::uint64_t num_bytes = bytes_of(*tensor, where);
    if (end - begin != num_bytes) {
      fail(where,
           fmt::format("tensor '{}' needs {} bytes and has {}", printable(tensor->first), num_bytes,
                       end - begin),
           "TensorInvalidInfo");
    }
    tensor->second.offset = data_offset + begin;
    tensor->second.num_bytes = num_bytes;
    next = end;
  }
  if (next != data_bytes) {
    const bool is_long = next < data_bytes;
    fail(where,
         fmt::format("tensors need {} bytes of data, but {} are there: the file is {} bytes too {}", next,
                     data_bytes, is_long ? data_bytes - next : next - data_bytes, is_long ? "long" : "short"),
         "MetadataIncompleteBuffer");
  }
}

}  // namespace

std::size_t parse_safetensors_prefix(std::span<const std::byte> first_bytes, std::uint64_t file_bytes,
                                     const std::string& where) {
  if (first_bytes.size() < safetensors_prefix_bytes || file_bytes < safetensors_prefix_bytes) {
    fail(where, fmt::format("{} bytes are too few for a safetensors file", file_bytes), "HeaderTooSmall");
  }
  std::uint64_t length = 0;
  std::memcpy(&length, first_bytes.data(), sizeof length);
  if (length > max_header_bytes) {
    fail(where,
         fmt::format("a header of {} bytes is longer than the {} allowed; is this a safetensors file?",
                     length, max_header_bytes),
         "HeaderTooLarge");
  }
  if (length > file_bytes - safetensors_prefix_bytes) {
    fail(where, fmt::format("a header of {} bytes does not fit a file of {}", length, file_bytes),
         "InvalidHeaderLength");
  }
  return static_cast<std::size_t>(length);
}

TensorMap parse_safetensors_header(std::string_view header, std::uint64_t file_bytes,
                                   const std::string& where) {
  const std::uint64_t data_offset = safetensors_prefix_bytes + header.size();
  expects(data_offset <= file_bytes, "a header lies inside its file");
  if (!is_utf8(header)) fail(where, "the header is not UTF-8", "InvalidHeader");
  if (const char* trap = find_json_trap(header)) fail(where, std::string("the header ") + trap, malformed);
  HeaderReader reader(where);
  nlohmann::json::sax_parse(header, &reader);
  lay_out(reader.extents, data_offset, file_bytes - data_offset, where);
  return std::move(reader.tensors);
}

}  // namespace moewe
