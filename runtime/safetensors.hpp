#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/input_file.hpp"

namespace moewe {

/// A tensor inside a safetensors file. Row-major, dense, little-endian.
struct TensorInfo {
  std::string dtype;  ///< the format's own name: "F32", "BF16", "I32" ...
  std::vector<std::size_t> shape;
  std::uint64_t offset = 0;  ///< of the first byte, from the start of the file
  std::uint64_t num_bytes = 0;

  std::size_t num_elements() const;
};

using TensorMap = std::map<std::string, TensorInfo, std::less<>>;

/// Bytes of the length that a safetensors file begins with.
inline constexpr std::size_t safetensors_prefix_bytes = 8;

/// Checks the first bytes of a file of `file_bytes` bytes as the format's reference implementation does, and
/// returns the length of the header that follows them. `where` begins every message, the reference's name
/// for the error ends it. Throws InvalidInput.
std::size_t parse_safetensors_prefix(std::span<const std::byte> first_bytes, std::uint64_t file_bytes,
                                     const std::string& where);

/// Checks a header as the format's reference implementation does, in its order, and beyond it: no key twice,
/// no NUL in a name, at most 8 dimensions and 2^20 tensors. `file_bytes` is at least the prefix and the
/// header. Throws InvalidInput as above.
TensorMap parse_safetensors_header(std::string_view header, std::uint64_t file_bytes,
                                   const std::string& where);

/// The tensors of an open file. Throws InvalidInput when it is no safetensors file.
TensorMap read_safetensors_header(const InputFile& file);

/// A safetensors file, open for reading. Bytes are read when they are asked for, and only those.
class SafetensorsFile {
 public:
  /// Throws InvalidInput when the file cannot be opened or is not what it should be.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::string& path() const { return file_.path(); }
  const InputFile& file() const { return file_; }
  const TensorMap& tensors() const { return tensors_; }

  /// Null when there is none of this name.
  const TensorInfo* find(std::string_view name) const;

  /// Throws InvalidInput, naming file and tensor, when it is missing or its shape is another.
  const TensorInfo& require(std::string_view name, std::span<const std::size_t> shape) const;

  /// Bytes of a tensor of this file, from `first_byte` on. Throws InvalidInput when the file has become
  /// shorter since it was opened, or cannot be read.
  void read_bytes(const TensorInfo& tensor, std::uint64_t first_byte, std::span<std::byte> bytes) const;

  /// Elements [first, first + values.size()) of the named tensor as f32. Throws InvalidInput unless it is
  /// there, F32 or BF16, and long enough; with no values, only that is checked.
  void read_f32(std::string_view name, std::size_t first, std::span<float> values) const;

 private:
  InputFile file_;
  TensorMap tensors_;
};

/// "[4, 128]"
std::string describe_shape(std::span<const std::size_t> shape);

}  // namespace moewe
