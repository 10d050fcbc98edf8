#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "comm/buffer.hpp"
#include "runtime/kernels/matmul.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/ledger.hpp"
#include "runtime/row_table.hpp"
#include "runtime/slot_table.hpp"
#include "runtime/weight_source.hpp"

namespace moewe {

/// Where threads compute tiles; shared by all layers of an engine, since only one computes at a time.
struct Workspace {
  std::size_t num_threads = 1;
  Buffer tiles;  ///< one part per thread
};

/// Computes rows with the experts in a rank's slots, in f32. A row's output depends on that row and its
/// expert alone, to the bit.
class Experts {
 public:
  Experts(ExpertShape shape, MatmulCache& matmuls, MemoryMeter& meter);

  /// Local. Reads and packs the experts of these slots, one after the other.
  SlotTable load(const WeightSource& source, std::span<const ExpertId> experts) const;

  /// Local. Reads every row's input and writes its output, [hidden] f32 each, and counts it in the ledger.
  void run(const RowTable& rows, const SlotTable& slots, Workspace& workspace, Ledger& ledger) const;

 private:
  /// Some rows of one slot, few enough to stay in cache.
  struct Tile {
    std::size_t slot;
    std::span<const Row> rows;
  };

  void run_tile(const Tile& tile, const ExpertWeights& weights, float* scratch) const;
  std::size_t scratch_length() const;

  ExpertShape shape_;
  MemoryMeter& meter_;
  std::shared_ptr<const Matmul> gate_up_;
  std::shared_ptr<const Matmul> down_;
};

}  // namespace moewe
