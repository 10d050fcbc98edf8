#include "runtime/experts.hpp"

#include <algorithm>
#include <cstring>

#include "runtime/kernels/elementwise.hpp"
#include "runtime/parallel.hpp"

namespace moewe {

Experts::Experts(ExpertShape shape, MatmulCache& matmuls, MemoryMeter& meter)
    : shape_(shape),
      meter_(meter),
      gate_up_(matmuls.get(shape.hidden, 2 * shape.intermediate)),
      down_(matmuls.get(shape.intermediate, shape.hidden)) {}

SlotTable Experts::load(const WeightSource& source, std::span<const ExpertId> experts) const {
  SlotTable table;
  const std::size_t matrix = shape_.hidden * shape_.intermediate;
  Buffer unpacked(meter_, "weights being packed", experts.empty() ? 0 : 3 * matrix * sizeof(float));
  for (const ExpertId expert : experts) {
    const std::span<float> all = unpacked.as<float>(3 * matrix);
    source.read_expert(expert, {all.first(matrix), all.subspan(matrix, matrix), all.last(matrix)});
    table.slots.push_back({gate_up_->pack(meter_, "expert weights", all.first(2 * matrix)),
                           down_->pack(meter_, "expert weights", all.last(matrix))});
  }
  return table;
}

std::size_t Experts::scratch_length() const {
  // input, gate and up, hidden activation, output
  return Matmul::max_rows * (shape_.hidden + 2 * shape_.intermediate + shape_.intermediate + shape_.hidden);
}

void Experts::run(const RowTable& rows, const SlotTable& slots, Workspace& workspace, Ledger& ledger) const {
  std::vector<Tile> tiles;
  for (std::size_t slot = 0; slot < rows.num_slots(); ++slot) {
    const auto of_slot = rows.rows(slot);
    for (std::size_t first = 0; first < of_slot.size(); first += Matmul::max_rows) {
      tiles.push_back({slot, of_slot.subspan(first, std::min(Matmul::max_rows, of_slot.size() - first))});
    }
  }
  const std::size_t length = workspace.num_threads * scratch_length();
  workspace.tiles.reserve(meter_, "expert tiles", length * sizeof(float));
  float* const scratch = workspace.tiles.as<float>(length).data();
  parallel_for(workspace.num_threads, tiles.size(), [&](std::size_t i, std::size_t thread) {
    const Tile& tile = tiles[i];
    run_tile(tile, slots.slots[tile.slot], scratch + thread * scratch_length());
    ledger.count_computed(tile.slot, tile.rows.size());
  });
}

void Experts::run_tile(const Tile& tile, const ExpertWeights& weights, float* scratch) const {
  const std::size_t num_rows = tile.rows.size();
  const std::size_t row_bytes = shape_.hidden * sizeof(float);
  float* const x = scratch;
  float* const gate_up = x + Matmul::max_rows * shape_.hidden;
  float* const hidden = gate_up + Matmul::max_rows * 2 * shape_.intermediate;
  float* const y = hidden + Matmul::max_rows * shape_.intermediate;

  for (std::size_t r = 0; r < num_rows; ++r)
    std::memcpy(x + r * shape_.hidden, tile.rows[r].input, row_bytes);
  gate_up_->apply(x, num_rows, weights.gate_up, gate_up);
  for (std::size_t r = 0; r < num_rows; ++r) {
    const float* gate = gate_up + r * 2 * shape_.intermediate;
    silu_multiply({gate, shape_.intermediate}, {gate + shape_.intermediate, shape_.intermediate},
                  {hidden + r * shape_.intermediate, shape_.intermediate});
  }
  down_->apply(hidden, num_rows, weights.down, y);
  for (std::size_t r = 0; r < num_rows; ++r)
    std::memcpy(tile.rows[r].output, y + r * shape_.hidden, row_bytes);
}

}  // namespace moewe
