#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "comm/buffer.hpp"
#include "runtime/expert_mlp.hpp"
#include "runtime/kernels/copy.hpp"
#include "runtime/ledger.hpp"
#include "runtime/row_table.hpp"
#include "runtime/slot_pool.hpp"
#include "runtime/slot_table.hpp"
#include "runtime/weight_source.hpp"
#include "runtime/workspace.hpp"

namespace moewe {

/// A caller's own expert: computes rows of one slot, which holds `expert`. Reads every row's input and writes
/// its output, [hidden] each, in the layer's dtype. It is called as often as rows arrive, with any part of
/// them in any order, so that an output depends on its row alone. A row tells how its output is best written
/// (copy_row); threads of the function's own that follow it end with finish_stores(Stores::streaming).
using ExpertFunction = std::function<void(ExpertId expert, std::span<const Row> rows)>;

/// Local. Reads and packs the experts of these slots, one after the other.
SlotTable load_experts(const ExpertMlp& mlp, MemoryMeter& meter, const WeightSource& source,
                       std::span<const ExpertId> experts);

/// The same into slots of a pool, which has as many free.
SlotTable load_experts(const ExpertMlp& mlp, MemoryMeter& meter, const WeightSource& source,
                       std::span<const ExpertId> experts, SlotPool& pool);

/// Local. Computes all rows of the table, tile by tile, and counts them in the ledger. Calls the workspace's
/// Meanwhile in between.
void run_experts(const ExpertMlp& mlp, const RowTable& rows, const SlotTable& slots, Workspace& workspace,
                 Ledger& ledger);

/// The same with a caller's function. `experts` are those of the slots. Calls `meanwhile` after each of them.
void run_experts(const ExpertFunction& function, const RowTable& rows, std::span<const ExpertId> experts,
                 Ledger& ledger, const Meanwhile& meanwhile = {});

/// Local. One expert for all tokens: row t of `x` in, row t of `y` out, both dense, the latter f32 if the MLP
/// says so. Calls the workspace's Meanwhile in between.
void run_shared_expert(const ExpertMlp& mlp, const ExpertWeights& weights, std::span<const std::byte> x,
                       std::span<std::byte> y, Workspace& workspace);

}  // namespace moewe
