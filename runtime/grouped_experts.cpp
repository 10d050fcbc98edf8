#include "runtime/grouped_experts.hpp"

#include "runtime/kernels/activate_rows.hpp"
#include "runtime/kernels/arrange_rows.hpp"
#include "runtime/kernels/cublas/cublas_matmul.hpp"

namespace moewe {
namespace {

constexpr std::size_t num_matmuls = 2;
constexpr std::size_t addresses_of_group = 3;

std::uint32_t narrow(std::size_t count) { return static_cast<std::uint32_t>(count); }

std::size_t tables_bytes(const DeviceSizes& sizes) {
  return num_matmuls * addresses_of_group * sizes.num_slots * sizeof(std::byte*);
}

std::uint32_t sums_of(const ExpertShape& shape) { return narrow((shape.gated ? 2 : 1) * shape.intermediate); }

}  // namespace

GroupedExperts::GroupedExperts(Device& device, MemoryMeter& meter, const DeviceSizes& sizes)
    : sizes_(sizes),
      workspace_(device, meter, workspace_name, cublas_workspace_bytes),
      tables_(device, meter, tables_name, tables_bytes(sizes)),
      pinned_(device, meter, pinned_name, tables_bytes(sizes), MemoryKind::pinned) {
  if (!device.is_emulated())
    library_ = make_cublas_matmul(static_cast<int>(device.number()), workspace_.data());
}

void GroupedExperts::plan_memory(const DeviceSizes& sizes, MemoryPlan& plan) {
  plan.add(workspace_name, cublas_workspace_bytes);
  plan.add(tables_name, tables_bytes(sizes));
  plan.add(pinned_name, tables_bytes(sizes));
}

GroupedExperts::Tables GroupedExperts::lay_out(const DeviceSizes& sizes, std::size_t matmul,
                                               DeviceBuffer& tables) {
  auto** const first = tables.as<std::byte*>() + matmul * addresses_of_group * sizes.num_slots;
  return {const_cast<const std::byte**>(first), const_cast<const std::byte**>(first + sizes.num_slots),
          first + 2 * sizes.num_slots};
}

void GroupedExperts::run(Queue& queue, const DeviceWeights& weights, const Rows& rows) {
  const ExpertShape& shape = sizes_.spec.expert;
  const DeviceArrivals& room = rows.room;
  list_groups(rows.num_rows);
  const std::uint32_t num_slots = narrow(rows.num_rows.size()), num_rows = narrow(first_rows_.back());
  queue.run(arrange_rows, {rows.inputs, rows.first_row, room.results, rows.first_place, rows.counts,
                           sizes_.row_bytes(), RowArrangement{}, num_slots, num_rows});
  multiply(
      queue, 0,
      {weights.matrices_in(), room.results, room.sums, narrow(shape.hidden), sums_of(shape), Dtype::f32});
  queue.run(activate_rows, {room.sums, room.hidden, num_rows, narrow(shape.intermediate), shape.gated,
                            shape.activation, Dtype::f32, sizes_.dtype});
  multiply(queue, 1,
           {weights.matrices_out(), room.hidden, room.results, narrow(shape.intermediate),
            narrow(shape.hidden), sizes_.dtype});
}

/// Slots without rows are no groups; behind the last group, all rows.
void GroupedExperts::list_groups(std::span<const std::int64_t> num_rows) {
  slots_.clear();
  first_rows_.assign(1, 0);
  num_rows_.clear();
  for (std::size_t slot = 0; slot < num_rows.size(); ++slot) {
    if (num_rows[slot] == 0) continue;
    slots_.push_back(slot);
    num_rows_.push_back(static_cast<std::uint32_t>(num_rows[slot]));
    first_rows_.push_back(first_rows_.back() + num_rows_.back());
  }
}

/// Addresses go to the device in one copy.
void GroupedExperts::multiply(Queue& queue, std::size_t number, const Matmul& matmul) {
  const Tables on_host = lay_out(sizes_, number, pinned_), there = lay_out(sizes_, number, tables_);
  for (std::size_t group = 0; group < slots_.size(); ++group) {
    on_host.weights[group] = matmul.weights[slots_[group]];
    on_host.inputs[group] = matmul.inputs + first_rows_[group] * matmul.in * bytes_of(sizes_.dtype);
    on_host.outputs[group] = matmul.outputs + first_rows_[group] * matmul.out * bytes_of(matmul.output_dtype);
  }
  queue.copy(there.weights, on_host.weights, addresses_of_group * sizes_.num_slots * sizeof(std::byte*));
  run_groups(queue, {library_.get(), num_rows_.data(), there.addresses(), on_host.addresses(),
                     narrow(slots_.size()), matmul.in, matmul.out, sizes_.dtype, matmul.output_dtype});
}

}  // namespace moewe
