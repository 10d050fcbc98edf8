#include "launch/token_source.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <string_view>

#include "comm/error.hpp"
#include "runtime/random.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

constexpr std::string_view input_begin = "layers.";
constexpr std::string_view input_end = ".input";

bool looks_like_an_input(std::string_view name) {
  return name.size() >= input_begin.size() + input_end.size() &&
         name.substr(0, input_begin.size()) == input_begin &&
         name.substr(name.size() - input_end.size()) == input_end;
}

}  // namespace

void GeneratedTokens::read(std::size_t layer, std::size_t step, TokenRange range,
                           std::span<float> rows) const {
  const std::uint64_t stream = scatter(scatter(scatter(seed_) ^ layer) ^ step);
  for (std::size_t t = 0; t < range.count; ++t) {
    const std::uint64_t token = scatter(stream ^ (range.first + t));
    for (std::size_t h = 0; h < hidden_; ++h) rows[t * hidden_ + h] = uniform_value(scatter(token + h));
  }
}

std::string layer_tensor(std::size_t layer, const char* what) {
  return fmt::format("layers.{}.{}", layer, what);
}

std::vector<std::size_t> recorded_layers(const SafetensorsFile& file) {
  std::vector<std::size_t> layers;
  for (const auto& [name, tensor] : file.tensors()) {
    if (!looks_like_an_input(name)) continue;
    std::size_t layer = 0;
    std::from_chars(name.data() + input_begin.size(), name.data() + name.size(), layer);
    if (name != layer_tensor(layer, "input")) {
      throw InvalidInput(fmt::format("{}: tensor '{}' is no layer's input; these are called layers.N.input",
                                     file.path(), printable(name)));
    }
    layers.push_back(layer);
  }
  std::sort(layers.begin(), layers.end());
  if (layers.empty()) throw InvalidInput(fmt::format("{}: holds no tensor layers.N.input", file.path()));
  return layers;
}

std::size_t recorded_tokens(const SafetensorsFile& file, std::size_t layer, std::size_t hidden) {
  const std::string name = layer_tensor(layer, "input");
  file.read_f32(name, 0, {});  // refuses a tensor that is missing or of a dtype that cannot be read
  const TensorInfo& tensor = *file.find(name);
  if (tensor.shape.size() != 2 || tensor.shape[1] != hidden) {
    throw InvalidInput(fmt::format("{}: tensor '{}' has shape {} instead of [tokens, {}]", file.path(), name,
                                   describe_shape(tensor.shape), hidden));
  }
  return tensor.shape[0];
}

RecordedTokens::RecordedTokens(const SafetensorsFile& file, const std::vector<std::size_t>& layers,
                               std::size_t num_tokens, std::size_t hidden)
    : file_(file), num_tokens_(num_tokens), hidden_(hidden) {
  for (const std::size_t layer : layers) {
    const std::size_t recorded = recorded_tokens(file, layer, hidden);
    if (recorded < num_tokens) {
      throw InvalidInput(fmt::format("{}: tensor '{}' has {} tokens, fewer than the {} asked for",
                                     file.path(), layer_tensor(layer, "input"), recorded, num_tokens));
    }
  }
}

void RecordedTokens::read(std::size_t layer, std::size_t /*the same in all*/, TokenRange range,
                          std::span<float> rows) const {
  const std::string name = layer_tensor(layer, "input");
  file_.read_f32(name, range.first * hidden_, rows);
  const auto wrong = std::find_if_not(rows.begin(), rows.end(), [](float x) { return std::isfinite(x); });
  if (wrong == rows.end()) return;
  const auto place = static_cast<std::size_t>(wrong - rows.begin());
  throw InvalidInput(fmt::format("{}: tensor '{}' holds {} at token {}, column {}; inputs must be finite",
                                 file_.path(), name, *wrong, range.first + place / hidden_, place % hidden_));
}

}  // namespace moewe
