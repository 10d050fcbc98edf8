#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "runtime/atomic_file.hpp"

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

  /// The next bytes, in the order of the tensors. Throws InvalidInput when the disk is full.
  void append(std::span<const std::byte> bytes);

  /// Throws Error(internal) unless exactly the declared bytes were appended.
  void commit();

 private:
  AtomicFile file_;
  std::size_t bytes_left_ = 0;
};

}  // namespace moewe
