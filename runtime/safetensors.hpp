#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moewe {

/// A tensor inside a safetensors file. Row-major, dense, little-endian; `data` may be unaligned.
struct TensorView {
  std::string dtype;  ///< the format's own name: "F32", "BF16", "I32" ...
  std::vector<std::size_t> shape;
  std::span<const std::byte> data;

  std::size_t num_elements() const;
};

using TensorMap = std::map<std::string, TensorView, std::less<>>;

/// Reads the header of a whole file in memory and checks it as the format's reference implementation does, in
/// its order, and beyond it: no key twice, no NUL in a name, at most 8 dimensions. `where` begins every
/// message; the reference's name for an error ends it. Views point into `file`. Throws InvalidInput.
TensorMap parse_safetensors(std::span<const std::byte> file, const std::string& where);

/// A safetensors file, mapped into memory: bytes are read when they are used, and only those. Must not be
/// changed by others while it is open.
class SafetensorsFile {
 public:
  /// Throws InvalidInput when the file cannot be opened or is not what it should be.
  explicit SafetensorsFile(const std::filesystem::path& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& path() const { return path_; }
  const TensorMap& tensors() const { return tensors_; }

  /// Null when there is none of this name.
  const TensorView* find(std::string_view name) const;

  /// Throws InvalidInput, naming file and tensor, when it is missing or its shape is another.
  const TensorView& require(std::string_view name, std::span<const std::size_t> shape) const;

 private:
  std::string path_;
  std::span<const std::byte> mapped_;
  TensorMap tensors_;
};

/// Elements [first, first + values.size()) as f32. Throws InvalidInput unless the dtype is F32 or BF16;
/// `name` is for the message.
void read_f32(const TensorView& tensor, std::string_view name, std::size_t first, std::span<float> values);

/// "[4, 128]"
std::string describe_shape(std::span<const std::size_t> shape);

}  // namespace moewe
