#include "launch/output_file.hpp"

#include <algorithm>

#include "comm/together.hpp"
#include "launch/token_source.hpp"

namespace moewe {
namespace {

constexpr std::size_t piece_bytes = std::size_t{64} << 20;

std::vector<SafetensorsWriter::Tensor> tensors_of(const OutputFile::Shape& shape) {
  std::vector<SafetensorsWriter::Tensor> tensors;
  for (const std::size_t layer : shape.layers) {
    tensors.push_back({layer_tensor(layer, "output"), "F32", {shape.num_tokens, shape.hidden}});
    tensors.push_back({layer_tensor(layer, "topk_ids"), "I32", {shape.num_tokens, shape.top_k}});
    tensors.push_back({layer_tensor(layer, "topk_weights"), "F32", {shape.num_tokens, shape.top_k}});
  }
  return tensors;
}

}  // namespace

OutputFile::OutputFile(Communicator& communicator, const std::filesystem::path& path, const Shape& shape)
    : communicator_(communicator), shape_(shape) {
  together(communicator_, [&] {
    if (communicator_.rank() == Rank{0}) writer_.emplace(path, tensors_of(shape));
  });
}

void OutputFile::add_layer(const Routing& routing, std::span<const float> y) {
  static_assert(sizeof(ExpertId) == sizeof(std::int32_t));
  append_rows(std::as_bytes(y), shape_.hidden * sizeof(float));
  append_rows(std::as_bytes(std::span(routing.experts)), shape_.top_k * sizeof(ExpertId));
  append_rows(std::as_bytes(std::span(routing.weights)), shape_.top_k * sizeof(float));
}

void OutputFile::append_rows(std::span<const std::byte> mine, std::size_t row_bytes) {
  const TokenRange own = tokens_of_rank(shape_.num_tokens, communicator_.size(), communicator_.rank());
  const std::size_t rows_per_piece = std::max<std::size_t>(1, piece_bytes / row_bytes);
  for (std::size_t first = 0; first < shape_.num_tokens; first += rows_per_piece) {
    const std::size_t begin = std::clamp(first, own.first, own.end()) - own.first;
    const std::size_t end = std::clamp(first + rows_per_piece, own.first, own.end()) - own.first;
    const auto piece =
        communicator_.gather(mine.subspan(begin * row_bytes, (end - begin) * row_bytes), Rank{0});
    together(communicator_, [&] {
      if (writer_) writer_->append(piece);
    });
  }
}

void OutputFile::commit() {
  together(communicator_, [&] {
    if (writer_) writer_->commit();
  });
}

}  // namespace moewe
