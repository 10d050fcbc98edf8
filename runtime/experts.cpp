#include "runtime/experts.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "comm/error.hpp"
#include "runtime/layer_memory.hpp"
#include "runtime/parallel.hpp"
#include "runtime/weight_audit.hpp"

namespace moewe {
namespace {

/// Some rows of one slot.
struct Tile {
  std::size_t slot;
  std::span<const Row> rows;
};

/// Rows of a tile: as many as the MLP takes, but few enough that every thread gets some.
std::size_t rows_per_tile(const ExpertMlp& mlp, std::size_t num_rows, std::size_t num_threads) {
  constexpr std::size_t least = 32;
  constexpr std::size_t tiles_per_thread = 2;
  if (num_threads == 1) return mlp.tile_rows();
  return std::clamp(num_rows / (num_threads * tiles_per_thread), least, mlp.tile_rows());
}

/// Cuts a slot's rows into equal tiles.
void cut(std::size_t slot, std::span<const Row> rows, std::size_t most, std::vector<Tile>& tiles) {
  const std::size_t count = (rows.size() + most - 1) / most;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t begin = rows.size() * i / count;
    const std::size_t end = rows.size() * (i + 1) / count;
    tiles.push_back({slot, rows.subspan(begin, end - begin)});
  }
}

template <typename Run>
void run_tiles(const ExpertMlp& mlp, std::span<const Tile> tiles, Workspace& workspace, Run&& run) {
  workspace.reserve(mlp.scratch_bytes());
  parallel_for(workspace.num_threads(), tiles.size(), [&](std::size_t i, std::size_t thread) {
    run(tiles[i], workspace.of_thread(thread, mlp.scratch_bytes()), workspace.meanwhile_of(thread));
  });
}

}  // namespace

SlotTable load_experts(const ExpertMlp& mlp, MemoryMeter& meter, const WeightSource& source,
                       std::span<const ExpertId> experts) {
  SlotPool pool(mlp, meter, experts.size(), {});
  return load_experts(mlp, meter, source, experts, pool);
}

SlotTable load_experts(const ExpertMlp& mlp, MemoryMeter& meter, const WeightSource& source,
                       std::span<const ExpertId> experts, SlotPool& pool) {
  SlotTable table;
  if (experts.empty()) return table;
  Buffer unpacked(meter, loading_name, mlp.num_weights() * sizeof(float));
  const ExpertMatrices matrices = mlp.matrices_in(unpacked.as<float>(mlp.num_weights()));
  for (const ExpertId expert : experts) {
    const auto same = std::find(experts.begin(), experts.end(), expert) - experts.begin();
    if (static_cast<std::size_t>(same) < table.slots.size()) {
      table.slots.push_back(table.slots[static_cast<std::size_t>(same)]);
      continue;
    }
    source.read_expert(expert, matrices);
    SlotPool::OpenSlot slot = pool.take();
    expects(slot != nullptr, "a pool has a slot for every expert that is loaded");
    mlp.pack(matrices, *slot);
    if (pool.takes_checksums()) slot->checksum = checksum_of(std::as_const(*slot).bytes());
    table.slots.push_back(SlotPool::seal(std::move(slot)));
  }
  return table;
}

void run_experts(const ExpertMlp& mlp, const RowTable& rows, const SlotTable& slots, Workspace& workspace,
                 Ledger& ledger) {
  const std::size_t most = rows_per_tile(mlp, rows.num_rows(), workspace.num_threads());
  std::vector<Tile> tiles;
  for (const std::uint32_t slot : rows.slots()) cut(slot, rows.rows(slot), most, tiles);
  const auto run = [&](const Tile& tile, std::span<std::byte> scratch, const Meanwhile& meanwhile) {
    mlp.run(tile.rows, *slots.slots[tile.slot], scratch, meanwhile);
    ledger.count_computed(tile.slot, tile.rows.size());
  };
  run_tiles(mlp, tiles, workspace, run);
}

void run_experts(const ExpertFunction& function, const RowTable& rows, std::span<const ExpertId> experts,
                 Ledger& ledger, const Meanwhile& meanwhile) {
  for (const std::uint32_t slot : rows.slots()) {
    function(experts[slot], rows.rows(slot));
    ledger.count_computed(slot, rows.rows(slot).size());
    if (meanwhile) meanwhile();
  }
  finish_stores(Stores::streaming);
}

void run_shared_expert(const ExpertMlp& mlp, const ExpertWeights& weights, std::span<const std::byte> x,
                       std::span<std::byte> y, Workspace& workspace) {
  const std::size_t row_bytes = mlp.row_bytes();
  const std::size_t output_bytes = mlp.output_bytes();
  const std::size_t num_rows = x.size() / row_bytes;
  std::vector<Row> rows;
  rows.reserve(num_rows);
  for (std::size_t t = 0; t < num_rows; ++t) {
    rows.push_back(
        {x.data() + t * row_bytes, y.data() + t * output_bytes, Rank{0}, static_cast<std::uint32_t>(t), 0});
  }
  std::vector<Tile> tiles;
  cut(0, rows, rows_per_tile(mlp, num_rows, workspace.num_threads()), tiles);
  const auto run = [&](const Tile& tile, std::span<std::byte> scratch, const Meanwhile& meanwhile) {
    mlp.run(tile.rows, weights, scratch, meanwhile);
  };
  run_tiles(mlp, tiles, workspace, run);
}

}  // namespace moewe
