#include "runtime/safetensors.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "comm/error.hpp"
#include "runtime/kernels/elementwise.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

constexpr std::size_t max_header_bytes = 100'000'000;
constexpr std::size_t max_dimensions = 8;

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

/// Speaks for one file while its header is checked.
class HeaderReader {
 public:
  HeaderReader(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {}

  TensorMap read() {
    const std::size_t header_bytes = read_header_length();
    const std::string_view text(reinterpret_cast<const char*>(file_.data()) + 8, header_bytes);
    const nlohmann::json header = parse_strict_json(text, where_ + " (InvalidHeader)");
    if (!header.is_object()) fail("the header is not a JSON object", "InvalidHeaderDeserialization");
    data_ = file_.subspan(8 + header_bytes);

    std::vector<Entry> entries;
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        check_metadata(value);
      } else {
        entries.push_back(read_entry(name, value));
      }
    }
    return check_layout(std::move(entries));
  }

 private:
  struct Entry {
    std::string name;
    std::string dtype;
    std::vector<std::size_t> shape;
    std::size_t begin;
    std::size_t end;
  };

  [[noreturn]] void fail(const std::string& what, const char* reference_name) const {
    throw InvalidInput(fmt::format("{}: {} ({})", where_, what, reference_name));
  }

  std::size_t read_header_length() const {
    if (file_.size() < 8)
      fail(fmt::format("{} bytes are too few for a safetensors file", file_.size()), "HeaderTooSmall");
    std::uint64_t length = 0;
    std::memcpy(&length, file_.data(), sizeof length);
    if (length > max_header_bytes) {
      fail(fmt::format("a header of {} bytes is longer than the {} allowed; is this a safetensors file?",
                       length, max_header_bytes),
           "HeaderTooLarge");
    }
    if (length > file_.size() - 8) {
      fail(fmt::format("a header of {} bytes does not fit a file of {}", length, file_.size()),
           "InvalidHeaderLength");
    }
    return length;
  }

  void check_metadata(const nlohmann::json& metadata) const {
    const bool strings_only =
        metadata.is_object() &&
        std::all_of(metadata.begin(), metadata.end(), [](const auto& v) { return v.is_string(); });
    if (!strings_only) fail("__metadata__ is not an object of strings", "InvalidHeaderDeserialization");
  }

  std::size_t read_size(const nlohmann::json& value, const std::string& name) const {
    if (!value.is_number_unsigned()) {
      fail(fmt::format("tensor '{}' has a shape or offset that is not a whole number", name),
           "InvalidHeaderDeserialization");
    }
    return value.get<std::size_t>();
  }

  Entry read_entry(const std::string& name, const nlohmann::json& value) const {
    const char* const malformed = "InvalidHeaderDeserialization";
    if (name.find('\0') != std::string::npos) fail("a tensor's name contains a NUL", malformed);
    const bool complete = value.is_object() && value.size() == 3 && value.contains("dtype") &&
                          value.contains("shape") && value.contains("data_offsets") &&
                          value["dtype"].is_string() && value["shape"].is_array() &&
                          value["data_offsets"].is_array() && value["data_offsets"].size() == 2;
    if (!complete)
      fail(fmt::format("tensor '{}' is not described by dtype, shape and data_offsets", name), malformed);
    Entry entry{name, value["dtype"].get<std::string>(), {}, 0, 0};
    if (value["shape"].size() > max_dimensions) {
      fail(fmt::format("tensor '{}' has more than {} dimensions", name, max_dimensions), malformed);
    }
    for (const auto& length : value["shape"]) entry.shape.push_back(read_size(length, name));
    entry.begin = read_size(value["data_offsets"][0], name);
    entry.end = read_size(value["data_offsets"][1], name);
    return entry;
  }

  std::size_t bits_of(const Entry& entry) const {
    const auto* known = std::find_if(dtypes.begin(), dtypes.end(),
                                     [&](const DtypeBits& dtype) { return dtype.name == entry.dtype; });
    if (known == dtypes.end()) {
      fail(fmt::format("tensor '{}' has the unknown dtype '{}'", entry.name, entry.dtype),
           "InvalidHeaderDeserialization");
    }
    std::size_t bits = known->bits;
    for (const std::size_t length : entry.shape) {
      if (length != 0 && bits > std::numeric_limits<std::size_t>::max() / length) {
        fail(fmt::format("the size of tensor '{}' overflows", entry.name), "ValidationOverflow");
      }
      bits *= length;
    }
    return bits;
  }

  TensorMap check_layout(std::vector<Entry> entries) const {
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    TensorMap tensors;
    std::size_t expected_begin = 0;
    for (Entry& entry : entries) {
      if (entry.begin != expected_begin || entry.end < entry.begin) {
        fail(fmt::format("tensor '{}' lies at {}..{}, but must begin at {}", entry.name, entry.begin,
                         entry.end, expected_begin),
             "InvalidOffset");
      }
      const std::size_t bits = bits_of(entry);
      if (bits % 8 != 0) fail(fmt::format("tensor '{}' ends inside a byte", entry.name), "MisalignedSlice");
      if (entry.end - entry.begin != bits / 8) {
        fail(fmt::format("tensor '{}' needs {} bytes and has {}", entry.name, bits / 8,
                         entry.end - entry.begin),
             "TensorInvalidInfo");
      }
      expected_begin = entry.end;
      // Whether the bytes are there is known only once all offsets are; views are cut then.
      tensors[entry.name] = {entry.dtype, std::move(entry.shape), {data_.data() + entry.begin, bits / 8}};
    }
    if (expected_begin != data_.size()) {
      fail(fmt::format("tensors end at byte {} of {} bytes of data", expected_begin, data_.size()),
           "MetadataIncompleteBuffer");
    }
    return tensors;
  }

  std::span<const std::byte> file_;
  const std::string& where_;
  std::span<const std::byte> data_;
};

std::span<const std::byte> map_file(const std::string& path) {
  const auto fail = [&] { throw InvalidInput(fmt::format("{}: {}", path, std::strerror(errno))); };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail();
  struct stat status {};
  void* mapped = nullptr;
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
    mapped = mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
  }
  close(fd);
  if (mapped == MAP_FAILED) fail();
  if (!S_ISREG(status.st_mode)) throw InvalidInput(fmt::format("{}: not a file", path));
  if (mapped == nullptr) return {};
  return {static_cast<const std::byte*>(mapped), static_cast<std::size_t>(status.st_size)};
}

}  // namespace

std::size_t TensorView::num_elements() const {
  std::size_t count = 1;
  for (const std::size_t length : shape) count *= length;
  return count;
}

TensorMap parse_safetensors(std::span<const std::byte> file, const std::string& where) {
  return HeaderReader(file, where).read();
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : path_(path.string()), mapped_(map_file(path_)) {
  try {
    tensors_ = parse_safetensors(mapped_, path_);
  } catch (...) {
    if (!mapped_.empty()) munmap(const_cast<std::byte*>(mapped_.data()), mapped_.size());
    throw;
  }
}

SafetensorsFile::~SafetensorsFile() {
  if (!mapped_.empty()) munmap(const_cast<std::byte*>(mapped_.data()), mapped_.size());
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const TensorView& SafetensorsFile::require(std::string_view name, std::span<const std::size_t> shape) const {
  const TensorView* tensor = find(name);
  if (tensor == nullptr) throw InvalidInput(fmt::format("{}: tensor '{}' is missing", path_, name));
  if (!std::equal(shape.begin(), shape.end(), tensor->shape.begin(), tensor->shape.end())) {
    throw InvalidInput(fmt::format("{}: tensor '{}' has shape {} instead of {}", path_, name,
                                   describe_shape(tensor->shape), describe_shape(shape)));
  }
  return *tensor;
}

void read_f32(const TensorView& tensor, std::string_view name, std::size_t first, std::span<float> values) {
  if (tensor.dtype != "F32" && tensor.dtype != "BF16") {
    throw InvalidInput(fmt::format("tensor '{}' has dtype {}; F32 and BF16 can be read", name, tensor.dtype));
  }
  if (values.empty()) return;
  if (tensor.dtype == "F32") {
    std::memcpy(values.data(), tensor.data.data() + first * sizeof(float), values.size_bytes());
  } else {
    std::vector<std::uint16_t> aligned(values.size());
    std::memcpy(aligned.data(), tensor.data.data() + first * sizeof(std::uint16_t), aligned.size() * 2);
    widen_bf16(aligned, values);
  }
}

std::string describe_shape(std::span<const std::size_t> shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

}  // namespace moewe
