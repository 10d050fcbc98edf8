#include "launch/run_loads.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <xxhash.h>

#include "comm/error.hpp"
#include "launch/load_file.hpp"
#include "placement/plan.hpp"

namespace moewe {
namespace {

SlotSpace space_for(const Topology& topology, std::size_t num_experts, std::size_t num_spares) {
  const Placement contiguous = contiguous_placement(num_experts, topology.num_ranks());
  SlotSpace space{topology, {}, 0};
  for (std::size_t rank = 0; rank < topology.num_ranks(); ++rank) {
    space.slots_per_rank.push_back(
        std::min(num_experts, contiguous.experts_of(rank_at(rank)).size() + num_spares));
  }
  return space;
}

bool has_loads(const LoadHistory& history, std::size_t layer) {
  const std::vector<std::int64_t>& loads = history.total()[layer];
  return std::any_of(loads.begin(), loads.end(), [](std::int64_t count) { return count > 0; });
}

}  // namespace

LoadHistory read_loads_of(const ModelConfig& model, const std::filesystem::path& path) {
  LoadHistory history = read_loads(path, model.layer.num_experts);
  if (history.num_layers() == model.num_layers) return history;
  throw InvalidInput(fmt::format("{}: has loads of {} layers, but the model has {}", path.string(),
                                 history.num_layers(), model.num_layers));
}

LoadHistory new_history(const ModelConfig& model) {
  return LoadHistory(model.num_layers, model.layer.num_experts);
}

PlacementMap plan_for(const LoadHistory& history, const Topology& topology, std::size_t num_spares) {
  const SlotSpace space = space_for(topology, history.num_experts(), num_spares);
  PlacementMap map;
  for (std::size_t layer = 0; layer < history.num_layers(); ++layer) {
    if (has_loads(history, layer)) map.emplace(layer, plan_placement(history.total()[layer], space));
  }
  return map;
}

void require_loads_of(std::span<const std::size_t> layers, const LoadHistory& history,
                      const std::string& where) {
  for (std::size_t layer = 0; layer < history.num_layers(); ++layer) {
    const bool is_run = std::find(layers.begin(), layers.end(), layer) != layers.end();
    if (is_run || !has_loads(history, layer)) continue;
    throw InvalidInput(
        fmt::format("{}: what it is to go on from has loads of layer {}, which this run does not compute; "
                    "choose the same --layers",
                    where, layer));
  }
}

std::string digest(const LoadHistory& history) {
  const std::string text = to_json(history);
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

}  // namespace moewe
