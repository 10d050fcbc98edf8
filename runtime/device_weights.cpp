#include "runtime/device_weights.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

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

std::size_t expert_bytes(const ExpertShape& shape, Dtype dtype) {
  return out_at(shape, dtype) + aligned(values_out(shape) * bytes_of(dtype));
}

std::size_t shared_bytes(const LayerSpec& spec, Dtype dtype) {
  return spec.has_shared_expert() ? expert_bytes(spec.shared_expert(), dtype) : 0;
}

std::size_t router_values(const LayerSpec& spec) { return spec.num_experts * spec.expert.hidden; }

std::size_t most_values(const LayerSpec& spec) {
  const auto of = [](const ExpertShape& shape) { return values_in(shape) + values_out(shape); };
  return std::max({of(spec.expert), of(spec.shared_expert()), router_values(spec)});
}

/// Small arrays, and tables of addresses.
std::size_t tables_bytes(const LayerSpec& spec, std::size_t num_slots, std::size_t slots_of_all) {
  constexpr std::size_t num_single = 3;  // shared expert's and router's
  return 2 * aligned(num_slots * sizeof(std::byte*)) + num_single * alignment +
         aligned(spec.num_experts * sizeof(float)) + aligned((spec.num_experts + 1) * sizeof(std::uint32_t)) +
         2 * aligned(slots_of_all * sizeof(std::uint32_t));
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
    : dtype_(dtype) {
  const auto mine = placement.experts_of(self);
  tables_ = DeviceBuffer(load.device, load.meter, tables_name,
                         tables_bytes(spec, mine.size(), placement.num_slots()));
  Loader loader(spec, load, tables_.data());
  place_slots(loader, placement);
  if (source == nullptr) return;
  load_router(loader, spec, *source);
  if (spec.has_shared_expert()) load_shared_expert(loader, spec, *source);
  load_experts(loader, spec, mine, *source);
}

MemoryPlan DeviceWeights::plan_memory(const LayerSpec& spec, Dtype dtype, std::size_t num_slots,
                                      std::size_t slots_of_all) {
  MemoryPlan plan;
  plan.add(tables_name, tables_bytes(spec, num_slots, slots_of_all));
  plan.add(expert_weights_name, num_slots * expert_bytes(spec.expert, dtype));
  plan.add(shared_expert_weights_name, shared_bytes(spec, dtype));
  plan.add(router_weights_name, router_values(spec) * sizeof(float));
  return plan;
}

std::size_t DeviceWeights::loading_bytes(const LayerSpec& spec) { return most_values(spec) * sizeof(float); }

void DeviceWeights::load_experts(Loader& loader, const LayerSpec& spec, std::span<const ExpertId> experts,
                                 const WeightSource& source) {
  const std::size_t stride = expert_bytes(spec.expert, dtype_);
  expert_weights_ = loader.room(expert_weights_name, experts.size() * stride);
  for (std::size_t slot = 0; slot < experts.size(); ++slot) {
    std::byte* const to = expert_weights_.data() + slot * stride;
    loader.put_expert(spec.expert, dtype_, to,
                      [&](const ExpertMatrices& matrices) { source.read_expert(experts[slot], matrices); });
    in_.push_back(to);
    out_.push_back(to + out_at(spec.expert, dtype_));
  }
  experts_ = {loader.put_table(in_), loader.put_table(out_)};
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

void DeviceWeights::place_slots(Loader& loader, const Placement& placement) {
  std::vector<std::uint32_t> first, rank, position;
  for (std::size_t e = 0; e < placement.num_experts(); ++e) {
    first.push_back(static_cast<std::uint32_t>(rank.size()));
    for (const Slot& slot : placement.slots_of(expert_at(e))) {
      rank.push_back(static_cast<std::uint32_t>(number(slot.rank)));
      position.push_back(slot.position);
    }
  }
  first.push_back(static_cast<std::uint32_t>(rank.size()));
  first_slot_ = loader.put_table(first);
  slot_rank_ = loader.put_table(rank);
  slot_position_ = loader.put_table(position);
}

}  // namespace moewe
