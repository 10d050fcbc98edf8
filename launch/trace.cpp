#include "launch/trace.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <vector>

#include "comm/error.hpp"
#include "launch/npy_header.hpp"
#include "runtime/safetensors.hpp"

namespace moewe {
namespace {

TraceLayout read_layout(const InputFile& file) {
  std::vector<std::byte> first_bytes(std::min<std::uint64_t>(npy_first_bytes, file.num_bytes()));
  file.read(0, first_bytes);
  if (is_npy(first_bytes)) return layout_of_npy(first_bytes, file.num_bytes(), file.path());
  return layout_of_safetensors(read_safetensors_header(file), file.path());
}

/// Reads the choices of one layer, token after token.
class ChoiceReader {
 public:
  ChoiceReader(const InputFile& file, const TraceLayout& layout, std::size_t layer, std::size_t num_experts)
      : file_(file),
        layout_(layout),
        layer_(layer),
        num_experts_(num_experts),
        ids_window_(file),
        weights_window_(file) {}

  /// Both have room for k values; `token` counts from the beginning of the layer's sequence.
  void read(std::size_t token, std::span<ExpertId> ids, std::span<float> weights) {
    read_ids(token, ids);
    if (!layout_.weights) {
      std::fill(weights.begin(), weights.end(), 1.0F / static_cast<float>(layout_.top_k));
      return;
    }
    const auto bytes = row(weights_window_, *layout_.weights, token);
    for (std::size_t k = 0; k < weights.size(); ++k) {
      weights[k] = weight_at(bytes, layout_.weights->dtype, k);
      if (!std::isfinite(weights[k])) fail(token, k, fmt::format("the weight {} is not finite", weights[k]));
    }
  }

 private:
  void read_ids(std::size_t token, std::span<ExpertId> ids) {
    const auto bytes = row(ids_window_, layout_.ids, token);
    for (std::size_t k = 0; k < ids.size(); ++k) {
      const std::int64_t id = id_at(bytes, layout_.ids.dtype, k);
      if (id < 0 || static_cast<std::uint64_t>(id) >= num_experts_) {
        fail(token, k, fmt::format("expert {} is not between 0 and {}", id, num_experts_ - 1));
      }
      ids[k] = static_cast<ExpertId>(id);
    }
    sorted_.assign(ids.begin(), ids.end());
    std::sort(sorted_.begin(), sorted_.end());
    const auto twice = std::adjacent_find(sorted_.begin(), sorted_.end());
    if (twice == sorted_.end()) return;
    const auto second = std::find(std::find(ids.begin(), ids.end(), *twice) + 1, ids.end(), *twice);
    fail(token, static_cast<std::size_t>(second - ids.begin()),
         fmt::format("expert {} is chosen twice by one token", number(*twice)));
  }

  std::span<const std::byte> row(FileWindow& window, const TraceArray& array, std::size_t token) const {
    const std::size_t step = token / layout_.tokens;
    const std::size_t row = (step * layout_.layers + layer_) * layout_.tokens + token % layout_.tokens;
    const std::size_t row_bytes = layout_.top_k * bytes_per_element(array.dtype);
    return window.read(array.offset + row * row_bytes, row_bytes);
  }

  [[noreturn]] void fail(std::size_t token, std::size_t k, const std::string& what) const {
    throw InvalidInput(fmt::format("{}: step {}, layer {}, token {}, k {}: {}", file_.path(),
                                   token / layout_.tokens_per_step, layer_, token % layout_.tokens_per_step,
                                   k, what));
  }

  const InputFile& file_;
  const TraceLayout& layout_;
  std::size_t layer_;
  std::size_t num_experts_;
  FileWindow ids_window_;
  FileWindow weights_window_;
  std::vector<ExpertId> sorted_;
};

}  // namespace

Trace::Trace(const std::filesystem::path& path, std::size_t num_experts)
    : file_(path), num_experts_(num_experts), layout_(read_layout(file_)) {
  if (layout_.top_k > num_experts) {
    throw InvalidInput(fmt::format("{}: a trace of top-{} cannot be of a model with {} experts", file_.path(),
                                   layout_.top_k, num_experts));
  }
}

void Trace::read(const TraceStep& step, TokenRange range, std::span<ExpertId> ids,
                 std::span<float> weights) const {
  const std::size_t k = top_k();
  expects(step.layer < num_layers(), "a trace is asked for layers that it has");
  expects(ids.size() == range.count * k && weights.size() == ids.size(), "there is room for every choice");
  ChoiceReader reader(file_, layout_, step.layer, num_experts_);
  const std::size_t start = (step.step % num_tokens()) * (step.num_tokens % num_tokens()) + range.first;
  for (std::size_t t = 0; t < range.count; ++t) {
    reader.read((start + t) % num_tokens(), ids.subspan(t * k, k), weights.subspan(t * k, k));
  }
}

void Trace::check_layer(std::size_t layer) const {
  std::vector<ExpertId> ids(top_k());
  std::vector<float> weights(top_k());
  ChoiceReader reader(file_, layout_, layer, num_experts_);
  for (std::size_t token = 0; token < num_tokens(); ++token) reader.read(token, ids, weights);
}

std::optional<std::size_t> trace_layer_for(std::size_t trace_layers, std::size_t model_num_layers,
                                           std::span<const std::size_t> moe_layers, std::size_t model_layer) {
  const auto place = std::find(moe_layers.begin(), moe_layers.end(), model_layer);
  expects(place != moe_layers.end(), "choices are traced of MoE layers");
  if (trace_layers == model_num_layers) return model_layer;
  if (trace_layers == moe_layers.size()) return static_cast<std::size_t>(place - moe_layers.begin());
  return std::nullopt;
}

}  // namespace moewe
