#include "runtime/device_layer.hpp"
#include "runtime/device_mlp.hpp"
#include "runtime/kernels/arrange_rows.hpp"
#include "runtime/kernels/group_rows.hpp"

// What a step computes for the rows that arrived, and for the shared expert.

namespace moewe {
namespace {

std::uint32_t narrow(std::size_t count) { return static_cast<std::uint32_t>(count); }

}  // namespace

void DeviceLayer::start_shared_expert(const Tokens& tokens) {
  if (!spec_.has_shared_expert()) return;
  lane_.fork();
  const std::size_t hidden = spec_.expert.hidden;
  run_mlp(lane_.side_queue(), {spec_.shared_expert(),
                               weights_->shared_expert(),
                               {nullptr, tokens.x, lane_.sizes().row_bytes()},
                               {nullptr, reinterpret_cast<std::byte*>(tokens.y), hidden * sizeof(float)},
                               lane_.memory().shared_hidden,
                               options_.dtype,
                               Dtype::f32,
                               1,
                               narrow(tokens.count),
                               nullptr,
                               nullptr});
}

void DeviceLayer::group() {
  const DeviceStepMemory& memory = lane_.memory();
  const DeviceArrivals& arrivals = lane_.arrivals();
  Queue& queue = lane_.queue();
  const std::uint32_t num_slots = narrow(promised_.size()), most = narrow(num_promised_);
  queue.run(group_rows, {memory.sources, lane_.sizes().row_bytes(), arrivals.inputs, arrivals.outputs,
                         memory.slot_first_row, narrow(engine_.communicator().size()), num_slots, most});
}

void DeviceLayer::run_own_experts() {
  const DeviceStepMemory& memory = lane_.memory();
  const DeviceArrivals& arrivals = lane_.arrivals();
  Queue& queue = lane_.queue();
  const std::uint32_t num_slots = narrow(promised_.size()), most = narrow(num_promised_);
  queue.fill(memory.computed, 0, num_slots * sizeof *memory.computed);
  run_mlp(queue, {spec_.expert,
                  weights_->experts(),
                  {arrivals.inputs, nullptr, 0},
                  {arrivals.outputs, nullptr, 0},
                  arrivals.hidden,
                  options_.dtype,
                  options_.dtype,
                  num_slots,
                  most,
                  memory.slot_first_row,
                  memory.computed});
}

/// What its results are counted by are the rows that it was given.
void DeviceLayer::run_function() {
  const DeviceStepMemory& memory = lane_.memory();
  const std::size_t row_bytes = lane_.sizes().row_bytes();
  const std::uint32_t num_slots = narrow(promised_.size());
  const std::byte* const rows = arranged_.data();
  std::byte* const results = arranged_.data() + arranged_.size() / 2;
  Queue& queue = lane_.queue();
  queue.run(arrange_rows,
            {lane_.arrivals().inputs, memory.slot_first_row, arranged_.data(), memory.first_place,
             memory.computed, row_bytes, arrangement_, num_slots, narrow(num_places_)});
  function_(queue, placement_.experts_of(engine_.communicator().rank()),
            {rows, results, memory.first_place, memory.computed, promised_, num_places_});
  queue.run(return_rows, {results, memory.first_place, memory.computed, memory.slot_first_row,
                          lane_.arrivals().outputs, row_bytes, num_slots, narrow(num_promised_)});
}

}  // namespace moewe
