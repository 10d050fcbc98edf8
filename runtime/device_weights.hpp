#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "comm/device_buffer.hpp"
#include "comm/queue.hpp"
#include "placement/placement.hpp"
#include "runtime/device_slot_pool.hpp"
#include "runtime/device_slot_tables.hpp"
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
/// router's, and where the slots of all experts are. Of these one epoch's are there at a time.
class DeviceWeights {
 public:
  static constexpr std::string_view tables_name = "device tables";

  /// What is loaded, and where to.
  struct Load {
    Device& device;
    Queue& queue;  ///< idle before and after
    MemoryMeter& meter;
    const std::function<void()>& wait;  ///< until the queue is idle
    std::size_t spare_slots = 0;        ///< of each rank, as in LayerOptions, as are these
    std::size_t staging_slots = 0;
  };

  /// Local and blocking. Reads from `source` what this rank needs, and keeps no reference to it; without one,
  /// there are no weights, but where slots are. Experts' weights have the layer's type, the router's are f32.
  DeviceWeights(const LayerSpec& spec, Dtype dtype, const Placement& placement, Rank self,
                const WeightSource* source, const Load& load);

  /// What construction takes on a rank with so many slots, spare ones too, of as many as the layer has on all
  /// ranks, and staging slots beside them.
  static MemoryPlan plan_memory(const LayerSpec& spec, Dtype dtype, std::size_t num_slots,
                                std::size_t slots_of_all, std::size_t staging_slots = 0);

  /// Of one expert, in one piece.
  static std::size_t expert_bytes(const LayerSpec& spec, Dtype dtype);

  /// On the host while it loads.
  static std::size_t loading_bytes(const LayerSpec& spec);

  /// This rank's experts, in the order of its slots; each in expert_bytes() of memory, which slots of the
  /// same expert share.
  const std::vector<DeviceExpertWeights>& slots() const { return slots_; }

  /// Room for one more; null where there is none. Comes back when the last who shares it lets it go, which
  /// those do who were put() here as soon as others are.
  DeviceExpertRoom take_room() { return pool_.take(); }

  /// That the slots are in, to be shared as long as something of it is being sent.
  std::shared_ptr<const void> memory() const { return pool_.memory(); }

  /// Before a step: from now on these are the slots, of this placement. Enqueues it on a queue that has done
  /// all work with those before, and passes it before the next.
  void put(Queue& queue, const Placement& placement, std::vector<DeviceExpertWeights> slots);

  DeviceExperts experts() const { return {tables_of_slots_.in(), tables_of_slots_.out()}; }
  // Addresses of the same matrices as of experts(), on the host.
  std::span<const std::byte* const> matrices_in() const { return tables_of_slots_.matrices().in; }
  std::span<const std::byte* const> matrices_out() const { return tables_of_slots_.matrices().out; }

  const DeviceExperts& shared_expert() const { return shared_expert_; }
  const std::byte* const* router() const { return router_; }
  const float* selection_bias() const { return selection_bias_; }

  // As choose_slots and count_destinations have them.
  const std::uint32_t* first_slot() const { return tables_of_slots_.first_slot(); }
  const std::uint32_t* slot_rank() const { return tables_of_slots_.slot_rank(); }
  const std::uint32_t* slot_position() const { return tables_of_slots_.slot_position(); }

 private:
  class Loader;

  std::vector<DeviceExpertWeights> load_experts(Loader& loader, const LayerSpec& spec,
                                                std::span<const ExpertId> experts, const WeightSource& source,
                                                const Load& load);
  void load_shared_expert(Loader& loader, const LayerSpec& spec, const WeightSource& source);
  void load_router(Loader& loader, const LayerSpec& spec, const WeightSource& source);

  Dtype dtype_;
  std::size_t out_at_;  // in an expert's memory, where down begins
  DeviceSlotPool pool_;
  std::vector<DeviceExpertWeights> slots_;
  DeviceSlotTables tables_of_slots_;
  DeviceBuffer shared_weights_;
  DeviceBuffer router_weights_;
  DeviceBuffer tables_;
  DeviceExperts shared_expert_;
  const std::byte* const* router_ = nullptr;
  const float* selection_bias_ = nullptr;
};

}  // namespace moewe
