#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "launch/token_range.hpp"
#include "runtime/routing.hpp"
#include "runtime/safetensors_writer.hpp"

namespace moewe {

/// Writes layers.N.output [T, hidden] f32, .topk_ids [T, k] i32 and .topk_weights [T, k] f32 in global token
/// order. Rank 0 writes; the others send it their rows, a bounded piece at a time.
class OutputFile {
 public:
  /// Sizes of what is written.
  struct Shape {
    std::vector<std::size_t> layers;
    std::size_t num_tokens;
    std::size_t hidden;
    std::size_t top_k;
  };

  /// Collective. Throws a shared InvalidInput when rank 0 cannot create the file.
  OutputFile(Communicator& communicator, const std::filesystem::path& path, const Shape& shape);

  /// Collective. The next layer, in order. `y` and `routings`, one behind the other, are of this rank's
  /// tokens. Throws a shared InvalidInput when the file cannot be written.
  void add_layer(std::span<const Routing> routings, std::span<const float> y);

  /// Collective. The file has its name once this returns. Throws as add_layer does.
  void commit();

 private:
  /// Parts of this rank's rows, one behind the other.
  using Parts = std::vector<std::span<const std::byte>>;

  void append_rows(const Parts& mine, std::size_t row_bytes);

  Communicator& communicator_;
  Shape shape_;
  std::optional<SafetensorsWriter> writer_;  // on rank 0
};

}  // namespace moewe
