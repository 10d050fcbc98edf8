#include "runtime/layer_memory.hpp"

#include <algorithm>

#include "runtime/chunk_carrier.hpp"
#include "runtime/expert_mlp.hpp"
#include "runtime/router.hpp"
#include "runtime/workspace.hpp"

namespace moewe {

namespace {

/// What is unpacked needs room only beyond that of weights that come after it.
std::size_t beyond(std::size_t unpacked, std::size_t weights_after) {
  return unpacked > weights_after ? unpacked - weights_after : 0;
}

}  // namespace

LayerMemory plan_layer(const LayerSpec& spec, const LayerOptions& options, const LayerShare& share,
                       MatmulCache& matmuls) {
  LayerMemory memory;
  const Dtype dtype = options.dtype;
  const std::size_t all_slots = share.num_slots + options.spare_slots + options.staging_slots;
  const ExpertMlp expert(spec.expert, dtype, dtype, matmuls);
  const auto router = matmuls.get(spec.expert.hidden, spec.num_experts);
  std::size_t scratch = std::max(expert.scratch_bytes(), Router::scratch_bytes_for(spec));
  std::size_t loading = spec.num_experts * spec.expert.hidden * sizeof(float);
  memory.weights.add(expert_weights_name, all_slots * expert.weight_bytes());
  memory.weights.add(router_weights_name, router->packed_bytes());
  if (spec.has_shared_expert()) {
    const ExpertMlp shared(spec.shared_expert(), dtype, Dtype::f32, matmuls);
    memory.weights.add(shared_expert_weights_name, shared.weight_bytes());
    scratch = std::max(scratch, shared.scratch_bytes());
    loading = std::max(beyond(loading, shared.weight_bytes()), shared.num_weights() * sizeof(float));
  }
  loading = beyond(loading, all_slots * expert.weight_bytes());
  if (share.num_slots > 0) loading = std::max(loading, expert.num_weights() * sizeof(float));
  memory.shared.add(Workspace::meter_name, share.num_threads * scratch);
  if (options.can_migrate())
    memory.shared.add(ChunkCarrier::meter_name, ChunkCarrier::memory_bytes(share.num_ranks));
  memory.loading_bytes = loading;
  return memory;
}

}  // namespace moewe
