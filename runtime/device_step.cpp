#include "runtime/device_step.hpp"

#include "runtime/kernels/group_rows.hpp"

namespace moewe {

std::size_t plan_bytes(std::size_t num_assignments) {
  return sizeof(ArrivedPlan) + num_assignments * sizeof(PlannedAssignment);
}

std::size_t packed_plan_bytes(std::size_t num_assignments) {
  constexpr std::size_t alignment = alignof(ArrivedPlan);
  return (plan_bytes(num_assignments) + alignment - 1) / alignment * alignment;
}

std::size_t packed_plans_bytes(std::size_t num_plans, std::size_t num_assignments) {
  return num_plans * (plan_bytes(0) + alignof(ArrivedPlan)) + num_assignments * sizeof(PlannedAssignment);
}

DeviceRegions::DeviceRegions(const DeviceSizes& sizes, std::size_t num_ranks, std::size_t num_sources) {
  const auto length_of = [](auto&& take) {
    DeviceArena arena;
    take(arena);
    return arena.used();
  };
  plan_bytes = length_of(
      [&](DeviceArena& arena) { arena.take<std::byte>(moewe::plan_bytes(sizes.max_assignments())); });
  rows_bytes =
      length_of([&](DeviceArena& arena) { arena.take<std::byte>(sizes.max_tokens * sizes.row_bytes()); });
  outputs_at = plan_from(num_sources);
  bytes = outputs_at + sizes.max_returned(num_ranks) * sizes.row_bytes();
}

DeviceAuditLists::DeviceAuditLists(std::size_t count, DeviceArena& arena)
    : rows(arena.take<const std::byte*>(count)),
      tokens(arena.take<std::uint32_t>(count)),
      ks(arena.take<std::uint32_t>(count)),
      checksums(arena.take<std::uint64_t>(count)) {}

DeviceStepMemory::DeviceStepMemory(const DeviceSizes& sizes, std::size_t num_ranks, DeviceArena& arena) {
  const LayerSpec& spec = sizes.spec;
  const std::size_t most = sizes.max_assignments();
  x = arena.take<std::byte>(sizes.max_tokens * sizes.row_bytes());
  y = arena.take<float>(sizes.max_tokens * spec.expert.hidden);
  logits = arena.take<float>(sizes.max_tokens * spec.num_experts);
  scores = arena.take<float>(sizes.max_tokens * spec.num_experts);
  bad_token = arena.take<std::uint32_t>(1);
  experts = arena.take<ExpertId>(most);
  weights = arena.take<float>(most);
  slots = arena.take<std::uint32_t>(most);
  quotas = arena.take<std::int64_t>(sizes.most_slots);
  rows = arena.take<std::uint32_t>(num_ranks);
  assignments = arena.take<std::uint32_t>(num_ranks);
  first_row = arena.take<std::uint32_t>(num_ranks + 1);
  first_assignment = arena.take<std::uint32_t>(num_ranks + 1);
  tokens = arena.take<std::uint32_t>(most);
  planned = arena.take<PlannedAssignment>(most);
  addresses = arena.take<const std::byte*>(most);
  shared_hidden = arena.take<std::byte>(sizes.max_tokens * spec.shared_intermediate * bytes_of(sizes.dtype));
  slot_first_row = arena.take<std::uint32_t>(sizes.num_slots + 1);
  first_place = arena.take<std::uint32_t>(std::max(sizes.num_slots, num_ranks) + 1);
  from_sources = arena.take<std::uint32_t>(num_ranks);
  computed = arena.take<std::uint32_t>(sizes.num_slots);
  row_destinations = arena.take<std::byte*>(num_ranks);
  plan_destinations = arena.take<std::byte*>(num_ranks);
  sources = arena.take<ArrivedFrom>(num_ranks);
  if (sizes.is_audited) {
    audit = DeviceAuditLists(most, arena);
    checksum_destinations = arena.take<std::byte*>(num_ranks);
  }
  if (sizes.num_by_message == 0) return;
  packed_rows = arena.take<std::byte>(sizes.max_packed() * sizes.row_bytes());
  packed_plans = arena.take<std::byte>(packed_plans_bytes(sizes.num_by_message, most));
  no_plan = arena.take<ArrivedPlan>(1);
}

DeviceArrivals::DeviceArrivals(const DeviceSizes& sizes, std::size_t num_assignments, DeviceArena& arena)
    : room(num_assignments) {
  inputs = arena.take<const std::byte*>(room);
  outputs = arena.take<std::byte*>(room);
  if (sizes.combine == Combine::fast) {
    results = arena.take<std::byte>(room * sizes.row_bytes());
    addresses = arena.take<const std::byte*>(room);
  }
  if (sizes.is_audited) {
    audit = DeviceAuditLists(room, arena);
    audited = arena.take<std::byte>(room * sizes.row_bytes());
  }
  hidden = arena.take<std::byte>(room * sizes.spec.expert.intermediate * bytes_of(sizes.dtype));
  if (sizes.may_group) {
    const std::size_t sums_of_row = (sizes.spec.expert.gated ? 2 : 1) * sizes.spec.expert.intermediate;
    sums = arena.take<std::byte>(room * sums_of_row * sizeof(float));
  }
  if (sizes.num_by_message == 0) return;
  received_rows = arena.take<std::byte>(sizes.max_received(room) * sizes.row_bytes());
  received_plans = arena.take<std::byte>(packed_plans_bytes(std::min(room, sizes.num_by_message), room));
  const std::size_t num_returned = sizes.combine == Combine::fast ? sizes.max_received(room) : room;
  returned = arena.take<std::byte>(num_returned * sizes.row_bytes());
}

PinnedStepMemory::PinnedStepMemory(const DeviceSizes& sizes, std::size_t num_ranks, DeviceArena& arena) {
  experts = arena.take<ExpertId>(sizes.max_assignments());
  weights = arena.take<float>(sizes.max_assignments());
  if (sizes.needs_selection) selection = arena.take<float>(sizes.max_tokens * sizes.spec.num_experts);
  quotas = arena.take<std::int64_t>(sizes.most_slots);
  bad_token = arena.take<std::uint32_t>(1);
  first_assignment = arena.take<std::uint32_t>(num_ranks + 1);
  computed = arena.take<std::uint32_t>(sizes.num_slots);
  from_sources = arena.take<std::uint32_t>(num_ranks);
  y = arena.take<float>(sizes.max_tokens * sizes.spec.expert.hidden);
  row_destinations = arena.take<std::byte*>(num_ranks);
  plan_destinations = arena.take<std::byte*>(num_ranks);
  sources = arena.take<ArrivedFrom>(num_ranks);
}

}  // namespace moewe
