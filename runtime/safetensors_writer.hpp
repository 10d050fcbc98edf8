#pragma once

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace moewe {

/// Writes a safetensors file whose tensors are known before their contents. The file appears under its name
/// only once it is complete: until commit it has a temporary name beside it, and is removed if never
/// committed.
class SafetensorsWriter {
 public:
  struct Tensor {
    std::string name;
    std::string dtype;  ///< "F32" or "I32"
    std::vector<std::size_t> shape;
  };

  /// Throws InvalidInput when the file cannot be created.
  SafetensorsWriter(const std::filesystem::path& path, const std::vector<Tensor>& tensors);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  /// The next bytes, in the order of the tensors. Throws InvalidInput when the disk is full.
  void append(std::span<const std::byte> bytes);

  /// Throws Error(internal) unless exactly the declared bytes were appended.
  void commit();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  void require(bool success) const;

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::unique_ptr<std::FILE, Close> file_;
  std::size_t bytes_left_ = 0;
};

}  // namespace moewe
