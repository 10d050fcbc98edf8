#include "runtime/device_weights.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <utility>

#include "comm/buffer.hpp"
#include "comm/error.hpp"
#include "runtime/device_arena.hpp"
#include "runtime/layer_memory.hpp"

namespace moewe {
namespace {

constexpr std::size_t alignment = 256;  // of each matrix, so that its rows are where vectors are

std::size_t aligned(std::size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

std::size_t values_in(const ExpertShape& shape) {
  return (shape.gated ? 2 : 1) * shape.hidden * shape.intermediate;
}
std::size_t values_out(const ExpertShape& shape) { return shape.hidden * shape.intermediate; }

/// From where an expert's weights begin, where down does.
std::size_t out_at(const ExpertShape& shape, Dtype dtype) {
  return aligned(values_in(shape) * bytes_of(dtype));
}

std::size_t mlp_bytes(const ExpertShape& shape, Dtype dtype) {
  return out_at(shape, dtype) + aligned(values_out(shape) * bytes_of(dtype));
}

std::size_t shared_bytes(const LayerSpec& spec, Dtype dtype) {
  return spec.has_shared_expert() ? mlp_bytes(spec.shared_expert(), dtype) : 0;
}

std::size_t router_values(const LayerSpec& spec) { return spec.num_experts * spec.expert.hidden; }

std::size_t most_values(const LayerSpec& spec) {
  const auto of = [](const ExpertShape& shape) { return values_in(shape) + values_out(shape); };
  return std::max({of(spec.expert), of(spec.shared_expert()), router_values(spec)});
}

/// The addresses of the shared expert's and the router's matrices, and the router's biases.
std::size_t tables_bytes(const LayerSpec& spec) {
  constexpr std::size_t num_addresses = 3;
  return num_addresses * alignment + aligned(spec.num_experts * sizeof(float));
}

}  // namespace

/// Brings values to the device, in the type that they have there.
class DeviceWeights::Loader {
 public:
  Loader(const LayerSpec& spec, const Load& load, std::byte* tables)
      : load_(load),
        unpacked_(load.meter, loading_name, loading_bytes(spec)),
        values_(unpacked_.as<float>(most_values(spec))),
        tables_(tables) {}

  std::span<float> values(std::size_t count) { return values_.first(count); }

  DeviceBuffer room(std::string_view name, std::size_t bytes) {
    return {load_.device, load_.meter, name, bytes};
  }

  void put(std::span<const float> values, Dtype dtype, std::byte* to) {
    if (dtype == Dtype::f32) return copy(values.data(), values.size_bytes(), to);
    constexpr std::size_t at_once = std::size_t{1} << 20U;
    std::vector<Bf16> rounded;
    for (std::size_t first = 0; first < values.size(); first += at_once) {
      const auto some = values.subspan(first, std::min(at_once, values.size() - first));
      rounded.resize(some.size());
      std::transform(some.begin(), some.end(), rounded.begin(), round_to_bf16);
      copy(rounded.data(), rounded.size() * sizeof(Bf16), to + first * sizeof(Bf16));
    }
  }

  /// One expert, of which `read` reads the matrices.
  template <typename Read>
  void put_expert(const ExpertShape& shape, Dtype dtype, std::byte* to, Read&& read) {
    const std::size_t in = values_in(shape), out = values_out(shape);
    const std::span<float> all = values(in + out);
    const std::size_t gate = shape.gated ? out : 0;
    read(ExpertMatrices{all.first(gate), all.subspan(gate, out), all.subspan(in, out)});
    put(all.first(in), dtype, to);
    put(all.subspan(in, out), dtype, to + out_at(shape, dtype));
  }

  /// The next of the small arrays.
  template <typename Value>
  const Value* put_table(const std::vector<Value>& values) {
    auto* const table = tables_.template take<Value>(values.size());
    copy(values.data(), values.size() * sizeof(Value), reinterpret_cast<std::byte*>(table));
    return table;
  }

 private:
  void copy(const void* from, std::size_t bytes, std::byte* to) {
    load_.queue.copy(to, from, bytes);
    load_.wait();
  }

  const Load& load_;
  Buffer unpacked_;
  std::span<float> values_;
  DeviceArena tables_;
};

DeviceWeights::DeviceWeights(const LayerSpec& spec, Dtype dtype, const Placement& placement, Rank self,
                             const WeightSource* source, const Load& load)
    : dtype_(dtype), out_at_(out_at(spec.expert, dtype)) {
  const auto mine = placement.experts_of(self);
  tables_ = DeviceBuffer(load.device, load.meter, tables_name, tables_bytes(spec));
  tables_of_slots_ = DeviceSlotTables(load.device, load.meter, tables_name,
                                      {spec.num_experts, mine.size() + load.spare_slots,
                                       placement.num_slots() + load.spare_slots * placement.num_ranks()});
  Loader loader(spec, load, tables_.data());
  std::vector<DeviceExpertWeights> slots;
  if (source != nullptr) {
    load_router(loader, spec, *source);
    if (spec.has_shared_expert()) load_shared_expert(loader, spec, *source);
    slots = load_experts(loader, spec, mine, *source, load);
  }
  put(load.queue, placement, std::move(slots));
  load.wait();
}

MemoryPlan DeviceWeights::plan_memory(const LayerSpec& spec, Dtype dtype, std::size_t num_slots,
                                      std::size_t slots_of_all, std::size_t staging_slots) {
  MemoryPlan plan;
  plan.add(tables_name, tables_bytes(spec));
  plan.add(tables_name, DeviceSlotTables::bytes({spec.num_experts, num_slots, slots_of_all}));
  plan.add(expert_weights_name, (num_slots + staging_slots) * mlp_bytes(spec.expert, dtype));
  plan.add(shared_expert_weights_name, shared_bytes(spec, dtype));
  plan.add(router_weights_name, router_values(spec) * sizeof(float));
  return plan;
}

std::size_t DeviceWeights::expert_bytes(const LayerSpec& spec, Dtype dtype) {
  return mlp_bytes(spec.expert, dtype);
}

void DeviceWeights::put(Queue& queue, const Placement& placement, std::vector<DeviceExpertWeights> slots) {
  slots_ = std::move(slots);
  DeviceSlotTables::Matrices matrices;
  for (const DeviceExpertWeights& weights : slots_) {
    matrices.in.push_back(weights.get());
    matrices.out.push_back(weights.get() + out_at_);
  }
  tables_of_slots_.put(queue, placement, std::move(matrices));
}

std::size_t DeviceWeights::loading_bytes(const LayerSpec& spec) { return most_values(spec) * sizeof(float); }

std::vector<DeviceExpertWeights> DeviceWeights::load_experts(Loader& loader, const LayerSpec& spec,
                                                             std::span<const ExpertId> experts,
                                                             const WeightSource& source, const Load& load) {
  pool_ = DeviceSlotPool(load.device, load.meter, expert_weights_name, mlp_bytes(spec.expert, dtype_),
                         experts.size() + load.spare_slots + load.staging_slots);
  std::vector<DeviceExpertWeights> slots;
  for (const ExpertId expert : experts) {
    const auto same =
        static_cast<std::size_t>(std::find(experts.begin(), experts.end(), expert) - experts.begin());
    if (same < slots.size()) {
      slots.push_back(slots[same]);
      continue;
    }
    DeviceExpertRoom room = pool_.take();
    loader.put_expert(spec.expert, dtype_, room.get(),
                      [&](const ExpertMatrices& matrices) { source.read_expert(expert, matrices); });
    slots.push_back(std::move(room));
  }
  return slots;
}

void DeviceWeights::load_shared_expert(Loader& loader, const LayerSpec& spec, const WeightSource& source) {
  const ExpertShape shape = spec.shared_expert();
  shared_weights_ = loader.room(shared_expert_weights_name, shared_bytes(spec, dtype_));
  std::byte* const to = shared_weights_.data();
  loader.put_expert(shape, dtype_, to,
                    [&](const ExpertMatrices& matrices) { source.read_shared_expert(matrices); });
  using Addresses = std::vector<const std::byte*>;
  shared_expert_ = {loader.put_table(Addresses{to}), loader.put_table(Addresses{to + out_at(shape, dtype_)})};
}

void DeviceWeights::load_router(Loader& loader, const LayerSpec& spec, const WeightSource& source) {
  const std::span<float> values = loader.values(router_values(spec));
  source.read_router(values);
  router_weights_ = loader.room(router_weights_name, values.size_bytes());
  loader.put(values, Dtype::f32, router_weights_.data());
  router_ = loader.put_table(std::vector<const std::byte*>{router_weights_.data()});
  if (!spec.router.has_selection_bias) return;
  std::vector<float> bias(spec.num_experts);
  source.read_selection_bias(bias);
  const auto bad =
      std::find_if_not(bias.begin(), bias.end(), [](float value) { return std::isfinite(value); });
  if (bad != bias.end()) {
    throw InvalidInput(fmt::format("router: the selection bias of expert {} is {}, but must be finite",
                                   bad - bias.begin(), *bad));
  }
  selection_bias_ = loader.put_table(bias);
}

}  // namespace moewe
