#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "comm/device_buffer.hpp"
#include "comm/queue.hpp"
#include "placement/placement.hpp"
#include "runtime/dtype.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/memory_plan.hpp"
#include "runtime/weight_source.hpp"

namespace moewe {

/// MLPs on a device, as multiply_rows takes them: gate, up and down of each row-major, one expert behind the
/// other.
struct DeviceExperts {
  const std::byte* const* in = nullptr;   ///< on the device, [count]: gate and up, or up alone
  const std::byte* const* out = nullptr;  ///< on the device, [count]: down
};

/// A layer's weights on a rank's device: those of the experts in its slots, the shared expert's and the
/// router's, and where the slots of all experts are.
class DeviceWeights {
 public:
  static constexpr std::string_view tables_name = "device tables";

  /// What is loaded, and where to.
  struct Load {
    Device& device;
    Queue& queue;  ///< idle before and after
    MemoryMeter& meter;
    const std::function<void()>& wait;  ///< until the queue is idle
  };

  /// Local and blocking. Reads from `source` what this rank needs, and keeps no reference to it; without one,
  /// there are no weights, but where slots are. Experts' weights have the layer's type, the router's are f32.
  DeviceWeights(const LayerSpec& spec, Dtype dtype, const Placement& placement, Rank self,
                const WeightSource* source, const Load& load);

  /// What construction takes on a rank with so many slots of as many as the layer has on all ranks.
  static MemoryPlan plan_memory(const LayerSpec& spec, Dtype dtype, std::size_t num_slots,
                                std::size_t slots_of_all);

  /// On the host while it loads.
  static std::size_t loading_bytes(const LayerSpec& spec);

  const DeviceExperts& experts() const { return experts_; }
  // Addresses of the same matrices as of experts(), on the host.
  std::span<const std::byte* const> matrices_in() const { return in_; }
  std::span<const std::byte* const> matrices_out() const { return out_; }

  const DeviceExperts& shared_expert() const { return shared_expert_; }
  const std::byte* const* router() const { return router_; }
  const float* selection_bias() const { return selection_bias_; }

  // As choose_slots and count_destinations have them.
  const std::uint32_t* first_slot() const { return first_slot_; }
  const std::uint32_t* slot_rank() const { return slot_rank_; }
  const std::uint32_t* slot_position() const { return slot_position_; }

 private:
  class Loader;

  void load_experts(Loader& loader, const LayerSpec& spec, std::span<const ExpertId> experts,
                    const WeightSource& source);
  void load_shared_expert(Loader& loader, const LayerSpec& spec, const WeightSource& source);
  void load_router(Loader& loader, const LayerSpec& spec, const WeightSource& source);
  void place_slots(Loader& loader, const Placement& placement);

  Dtype dtype_;
  DeviceBuffer expert_weights_;
  DeviceBuffer shared_weights_;
  DeviceBuffer router_weights_;
  DeviceBuffer tables_;
  DeviceExperts experts_;
  std::vector<const std::byte*> in_;
  std::vector<const std::byte*> out_;
  DeviceExperts shared_expert_;
  const std::byte* const* router_ = nullptr;
  const float* selection_bias_ = nullptr;
  const std::uint32_t* first_slot_ = nullptr;
  const std::uint32_t* slot_rank_ = nullptr;
  const std::uint32_t* slot_position_ = nullptr;
};

}  // namespace moewe
