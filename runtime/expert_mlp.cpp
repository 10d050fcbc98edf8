#include "runtime/expert_mlp.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>
#include <xxhash.h>

#include "comm/error.hpp"
#include "runtime/kernels/elementwise.hpp"

namespace moewe {
namespace {

/// Inputs and hidden activations of a tile: more rows use each panel of weights longer, fewer stay closer.
constexpr std::size_t tile_bytes = std::size_t{4} << 20;
constexpr std::size_t least_tile_rows = 64;

}  // namespace

ExpertMlp::ExpertMlp(const ExpertShape& shape, Dtype dtype, Dtype output_dtype, MatmulCache& matmuls)
    : shape_(shape), dtype_(dtype), output_dtype_(output_dtype) {
  const std::size_t matrices_in = shape.gated ? 2 : 1;
  in_.emplace(shape.hidden, matrices_in * shape.intermediate, dtype, matmuls, matrices_in);
  out_.emplace(shape.intermediate, shape.hidden, dtype, matmuls);
}

ExpertMatrices ExpertMlp::matrices_in(std::span<float> weights) const {
  const std::size_t matrix = shape_.hidden * shape_.intermediate;
  const std::span<float> gate = weights.first(shape_.gated ? matrix : 0);
  return {gate, weights.subspan(gate.size(), matrix), weights.subspan(gate.size() + matrix, matrix)};
}

ExpertWeights ExpertMlp::allocate(MemoryMeter& meter, std::string_view name) const {
  return {Buffer(meter, name, in_->packed_bytes()), Buffer(meter, name, out_->packed_bytes())};
}

ExpertWeights ExpertMlp::pack(MemoryMeter& meter, std::string_view name,
                              const ExpertMatrices& matrices) const {
  ExpertWeights packed = allocate(meter, name);
  pack(matrices, packed);
  return packed;
}

void ExpertMlp::pack(const ExpertMatrices& matrices, ExpertWeights& packed) const {
  std::vector<float> rows, scratch(widened_length());
  const auto append = [&](std::span<const float> matrix, std::size_t first, std::size_t count) {
    const auto from = matrix.subspan(first * shape_.hidden, count * shape_.hidden);
    rows.insert(rows.end(), from.begin(), from.end());
  };
  const std::size_t share = shape_.gated ? 2 : 1;
  for (std::size_t panel = 0; panel < in_->num_panels(); ++panel) {
    rows.clear();
    const std::size_t first = in_->first_output(panel) / share;
    const std::size_t count = in_->width(panel) / share;
    if (shape_.gated) append(matrices.gate, first, count);
    append(matrices.up, first, count);
    in_->pack_panel(panel, rows, packed.in.data(), scratch.data());
  }
  for (std::size_t panel = 0; panel < out_->num_panels(); ++panel) {
    const std::size_t length = out_->width(panel) * shape_.intermediate;
    const auto down = matrices.down.subspan(out_->first_output(panel) * shape_.intermediate, length);
    out_->pack_panel(panel, down, packed.out.data(), scratch.data());
  }
}

std::uint64_t ExpertMlp::layout_digest() const {
  const std::array digests{in_->layout_digest(), out_->layout_digest()};
  return XXH3_64bits(digests.data(), sizeof digests);
}

std::size_t ExpertMlp::tile_rows() const {
  return std::clamp(tile_bytes / row_bytes_in_tile(), least_tile_rows, Matmul::max_rows);
}

std::size_t ExpertMlp::row_bytes_in_tile() const {
  return shape_.hidden * bytes_of(in_->input()) + shape_.intermediate * bytes_of(out_->input());
}

std::size_t ExpertMlp::widened_length() const {
  return std::max(in_->scratch_length(), out_->scratch_length());
}

std::size_t ExpertMlp::scratch_bytes() const {
  const std::size_t floats = tile_rows() * Panels::max_width + widened_length();
  return floats * sizeof(float) + tile_rows() * row_bytes_in_tile();
}

ExpertMlp::Tile ExpertMlp::lay_out(std::byte* scratch) const {
  Tile tile{};
  tile.panel = reinterpret_cast<float*>(scratch);
  tile.widened = tile.panel + tile_rows() * Panels::max_width;
  tile.x = reinterpret_cast<std::byte*>(tile.widened + widened_length());
  tile.hidden = tile.x + tile_rows() * shape_.hidden * bytes_of(in_->input());
  return tile;
}

void ExpertMlp::run(std::span<const Row> rows, const ExpertWeights& weights, std::span<std::byte> scratch,
                    const Meanwhile& meanwhile) const {
  expects(rows.size() <= tile_rows() && scratch.size() >= scratch_bytes(), "a tile fits into its scratch");
  const Tile tile = lay_out(scratch.data());
  pull(rows, tile.x);
  for (std::size_t panel = 0; panel < in_->num_panels(); ++panel) {
    in_->apply(panel, tile.x, rows.size(), weights.in.data(), tile.widened, tile.panel);
    activate_panel(panel, rows.size(), tile);
    if (meanwhile) meanwhile();
  }
  for (std::size_t panel = 0; panel < out_->num_panels(); ++panel) {
    out_->apply(panel, tile.hidden, rows.size(), weights.out.data(), tile.widened, tile.panel);
    store_panel(panel, rows, tile);
    if (meanwhile) meanwhile();
  }
}

void ExpertMlp::pull(std::span<const Row> rows, std::byte* x) const {
  for (const Row& row : rows) {
    if (in_->input() == dtype_) {
      std::memcpy(x, row.input, row_bytes());
    } else {
      widen_bf16({reinterpret_cast<const Bf16*>(row.input), shape_.hidden},
                 {reinterpret_cast<float*>(x), shape_.hidden});
    }
    x += shape_.hidden * bytes_of(in_->input());
  }
}

void ExpertMlp::activate_panel(std::size_t panel, std::size_t num_rows, const Tile& tile) const {
  const std::size_t share = shape_.gated ? 2 : 1;
  const std::size_t count = in_->width(panel) / share;
  for (std::size_t r = 0; r < num_rows; ++r) {
    const std::size_t at = r * shape_.intermediate + in_->first_output(panel) / share;
    activate_row(tile.panel + r * in_->width(panel), count, tile.hidden + at * bytes_of(out_->input()));
  }
}

/// Rounds to what rows are, and stores as what is multiplied.
void ExpertMlp::activate_row(float* panel_row, std::size_t count, std::byte* hidden) const {
  const bool is_f32 = out_->input() == Dtype::f32;
  const std::span<float> activated(is_f32 ? reinterpret_cast<float*>(hidden) : panel_row, count);
  if (shape_.gated) {
    activate_gated(shape_.activation, {panel_row, count}, {panel_row + count, count}, activated);
  } else {
    activate(shape_.activation, {panel_row, count}, activated);
  }
  if (!is_f32) {
    round_to_bf16(activated, {reinterpret_cast<Bf16*>(hidden), count});
  } else if (dtype_ == Dtype::bf16) {
    round_in_place_to_bf16(activated);
  }
}

void ExpertMlp::store_panel(std::size_t panel, std::span<const Row> rows, const Tile& tile) const {
  const std::size_t width = out_->width(panel);
  const float* from = tile.panel;
  for (const Row& row : rows) {
    std::byte* const to = row.output + out_->first_output(panel) * bytes_of(output_dtype_);
    if (output_dtype_ == Dtype::f32) {
      std::memcpy(to, from, width * sizeof(float));
    } else {
      round_to_bf16({from, width}, {reinterpret_cast<Bf16*>(to), width});
    }
    from += width;
  }
}

}  // namespace moewe
