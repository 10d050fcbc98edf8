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

/// Bytes `begin` to `end` of parts that lie one behind the other: where one holds them all, a view of it,
/// else of `copy`.
std::span<const std::byte> bytes_between(std::span<const std::span<const std::byte>> parts, std::size_t begin,
                                         std::size_t end, std::vector<std::byte>& copy) {
  copy.clear();
  std::size_t first = 0;
  for (const auto& part : parts) {
    const std::size_t from = std::clamp(begin, first, first + part.size()) - first;
    const std::size_t to = std::clamp(end, first, first + part.size()) - first;
    const auto mine = part.subspan(from, to - from);
    if (mine.size() == end - begin) return mine;
    copy.insert(copy.end(), mine.begin(), mine.end());
    first += part.size();
  }
  return copy;
}

}  // namespace

OutputFile::OutputFile(Communicator& communicator, const std::filesystem::path& path, const Shape& shape)
    : communicator_(communicator), shape_(shape) {
  together(communicator_, [&] {
    if (communicator_.rank() == Rank{0}) writer_.emplace(path, tensors_of(shape));
  });
}

void OutputFile::add_layer(std::span<const Routing> routings, std::span<const float> y) {
  static_assert(sizeof(ExpertId) == sizeof(std::int32_t));
  Parts experts, weights;
  for (const Routing& routing : routings) {
    experts.push_back(std::as_bytes(routing.experts));
    weights.push_back(std::as_bytes(routing.weights));
  }
  append_rows({std::as_bytes(y)}, shape_.hidden * sizeof(float));
  append_rows(experts, shape_.top_k * sizeof(ExpertId));
  append_rows(weights, shape_.top_k * sizeof(float));
}

void OutputFile::append_rows(const Parts& mine, std::size_t row_bytes) {
  const TokenRange own = tokens_of_rank(shape_.num_tokens, communicator_.size(), communicator_.rank());
  std::vector<std::byte> copy;
  const std::size_t rows_per_piece = std::max<std::size_t>(1, piece_bytes / row_bytes);
  for (std::size_t first = 0; first < shape_.num_tokens; first += rows_per_piece) {
    const std::size_t begin = std::clamp(first, own.first, own.end()) - own.first;
    const std::size_t end = std::clamp(first + rows_per_piece, own.first, own.end()) - own.first;
    const auto piece =
        communicator_.gather(bytes_between(mine, begin * row_bytes, end * row_bytes, copy), Rank{0});
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
