#include "runtime/safetensors.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "comm/error.hpp"
#include "runtime/kernels/elementwise.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

constexpr std::size_t bf16_values_at_once = (1 << 20) / sizeof(std::uint16_t);

[[noreturn]] void fail(const std::string& path, std::string_view name, const std::string& what) {
  throw InvalidInput(fmt::format("{}: tensor '{}' {}", path, printable(name), what));
}

}  // namespace

std::size_t TensorInfo::num_elements() const {
  std::size_t count = 1;
  for (const std::size_t length : shape) count *= length;
  return count;
}

TensorMap read_safetensors_header(const InputFile& file) {
  std::array<std::byte, safetensors_prefix_bytes> prefix{};
  const auto first_bytes = std::span(prefix).first(
      std::min<std::size_t>(prefix.size(), static_cast<std::size_t>(file.num_bytes())));
  file.read(0, first_bytes);
  std::string header(parse_safetensors_prefix(first_bytes, file.num_bytes(), file.path()), '\0');
  file.read(safetensors_prefix_bytes, std::as_writable_bytes(std::span(header)));
  return parse_safetensors_header(header, file.num_bytes(), file.path());
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path), tensors_(read_safetensors_header(file_)) {}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const TensorInfo& SafetensorsFile::require(std::string_view name, std::span<const std::size_t> shape) const {
  const TensorInfo* tensor = find(name);
  if (tensor == nullptr) fail(path(), name, "is missing");
  if (!std::equal(shape.begin(), shape.end(), tensor->shape.begin(), tensor->shape.end())) {
    fail(path(), name,
         fmt::format("has shape {} instead of {}", describe_shape(tensor->shape), describe_shape(shape)));
  }
  return *tensor;
}

void SafetensorsFile::read_bytes(const TensorInfo& tensor, std::uint64_t first_byte,
                                 std::span<std::byte> bytes) const {
  expects(first_byte <= tensor.num_bytes && bytes.size() <= tensor.num_bytes - first_byte,
          "only bytes of the tensor are read");
  file_.read(tensor.offset + first_byte, bytes);
}

void SafetensorsFile::read_f32(std::string_view name, std::size_t first, std::span<float> values) const {
  const TensorInfo* tensor = find(name);
  if (tensor == nullptr) fail(path(), name, "is missing");
  const bool is_bf16 = tensor->dtype == "BF16";
  if (!is_bf16 && tensor->dtype != "F32") {
    fail(path(), name, fmt::format("has dtype {}; F32 and BF16 can be read", tensor->dtype));
  }
  const std::size_t length = tensor->num_elements();
  if (first > length || values.size() > length - first) {
    fail(path(), name,
         fmt::format("has {} elements; {} from {} on are not there", length, values.size(), first));
  }
  if (!is_bf16) return read_bytes(*tensor, first * sizeof(float), std::as_writable_bytes(values));
  std::vector<Bf16> piece(std::min(values.size(), bf16_values_at_once));
  for (; !values.empty(); values = values.subspan(piece.size())) {
    piece.resize(std::min(values.size(), piece.size()));
    read_bytes(*tensor, first * sizeof(Bf16), std::as_writable_bytes(std::span(piece)));
    widen_bf16(piece, values.first(piece.size()));
    first += piece.size();
  }
}

std::string describe_shape(std::span<const std::size_t> shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

}  // namespace moewe
