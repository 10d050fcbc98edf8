#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "placement/expert_id.hpp"
#include "runtime/device_arena.hpp"
#include "runtime/dtype.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/planned_assignment.hpp"
#include "runtime/return_table.hpp"

namespace moewe {

struct ArrivedFrom;  // of runtime/kernels/group_rows.hpp
struct ArrivedPlan;  // of runtime/kernels/push_plan.hpp

/// Of layers that run on a device, and of their steps.
struct DeviceSizes {
  LayerSpec spec;
  Dtype dtype = Dtype::f32;
  std::size_t max_tokens = 0;  ///< of any rank in a step
  std::size_t num_slots = 0;   ///< most of a layer on this rank
  std::size_t most_slots = 0;  ///< most of a layer on all ranks together
  Combine combine = Combine::reproducible;
  bool may_group = false;        ///< by choose_expert_matmuls()
  bool needs_selection = false;  ///< on the host, of layers whose options say so
  bool is_audited = false;       ///< as the engine's steps are

  /// Ranks that this one exchanges rows with as messages; a lane finds out by itself.
  std::size_t num_by_message = 0;

  std::size_t row_bytes() const { return spec.expert.hidden * bytes_of(dtype); }
  std::size_t max_assignments() const { return max_tokens * spec.router.top_k; }

  /// Rows that go out as messages in a step, at most.
  std::size_t max_packed() const { return max_tokens * std::min(spec.router.top_k, num_by_message); }

  /// Rows that come in as messages in a step of so many assignments on a rank, at most.
  std::size_t max_received(std::size_t num_assignments) const {
    return std::min(num_assignments, num_by_message * max_tokens);
  }

  /// Rows that come back to a rank in a step, at most.
  std::size_t max_returned(std::size_t num_ranks) const {
    return combine == Combine::fast ? max_tokens * std::min(spec.router.top_k, num_ranks) : max_assignments();
  }
};

/// Of the plan of so many assignments as it is sent, and then up to where the next one may begin.
std::size_t plan_bytes(std::size_t num_assignments);
std::size_t packed_plan_bytes(std::size_t num_assignments);

/// Of so many plans of so many assignments together, at most.
std::size_t packed_plans_bytes(std::size_t num_plans, std::size_t num_assignments);

/// Where a rank's segment has what; see DeviceExchange.
struct DeviceRegions {
  std::size_t plan_bytes = 0;
  std::size_t rows_bytes = 0;
  std::size_t outputs_at = 0;
  std::size_t bytes = 0;

  /// Of a rank that so many push to, itself included; the i-th of these in rank order.
  DeviceRegions(const DeviceSizes& sizes, std::size_t num_ranks, std::size_t num_sources);
  std::size_t plan_from(std::size_t i) const { return i * (plan_bytes + rows_bytes); }
  std::size_t rows_from(std::size_t i) const { return plan_from(i) + plan_bytes; }
};

/// On the device, of as many rows as there can be: for checksum_rows.
struct DeviceAuditLists {
  const std::byte** rows = nullptr;
  std::uint32_t* tokens = nullptr;
  std::uint32_t* ks = nullptr;
  std::uint64_t* checksums = nullptr;

  DeviceAuditLists() = default;
  DeviceAuditLists(std::size_t count, DeviceArena& arena);
};

/// On the device, for the step's tokens. T tokens at most, R ranks, E experts, top-k; names and contents as
/// the kernels' arguments have them.
struct DeviceStepMemory {
  std::byte* x;                     ///< [T] rows of a caller's that are not on the device
  float* y;                         ///< [T, hidden], the same
  float* logits;                    ///< [T, E]
  float* scores;                    ///< [T, E]
  std::uint32_t* bad_token;         ///< [1]
  ExpertId* experts;                ///< [T, k]
  float* weights;                   ///< [T, k]
  std::uint32_t* slots;             ///< [T, k]
  std::int64_t* quotas;             ///< [slots of all ranks]
  std::uint32_t* rows;              ///< [R]
  std::uint32_t* assignments;       ///< [R]
  std::uint32_t* first_row;         ///< [R + 1]
  std::uint32_t* first_assignment;  ///< [R + 1]
  std::uint32_t* tokens;            ///< [T * k]
  PlannedAssignment* planned;       ///< [T * k]
  const std::byte** addresses;      ///< [T, k]
  std::byte* shared_hidden;         ///< [T, shared intermediate]
  std::uint32_t* slot_first_row;    ///< [slots + 1], of what arrived
  std::uint32_t* first_place;       ///< [slots + 1] or [R + 1], for a caller's experts
  std::uint32_t* from_sources;      ///< [R] rows, for these
  std::uint32_t* computed;          ///< [slots]
  std::byte** row_destinations;     ///< [R], the same in all steps, as those below, but for messages
  std::byte** plan_destinations;    ///< [R]
  ArrivedFrom* sources;             ///< [R]

  // Where steps are audited.
  DeviceAuditLists audit;                       ///< [T * k]
  std::byte** checksum_destinations = nullptr;  ///< [R], of rows

  // Where there are messages.
  std::byte* packed_rows = nullptr;   ///< [max_packed()], rank by rank
  std::byte* packed_plans = nullptr;  ///< each of packed_plan_bytes()
  ArrivedPlan* no_plan = nullptr;     ///< of ranks that send nothing

  DeviceStepMemory() = default;
  DeviceStepMemory(const DeviceSizes& sizes, std::size_t num_ranks, DeviceArena& arena);
};

/// On the device, for the assignments that arrive in a step.
struct DeviceArrivals {
  std::size_t room = 0;
  const std::byte** inputs = nullptr;     ///< [room]
  std::byte** outputs = nullptr;          ///< [room]
  std::byte* results = nullptr;           ///< [room] rows, where they are summed here; else null, as below
  const std::byte** addresses = nullptr;  ///< [room] of these, as they arrived
  std::byte* hidden = nullptr;            ///< [room, intermediate] of the dtype
  std::byte* sums = nullptr;  ///< [room, 2 with a gate, intermediate] f32, where matmuls may be grouped

  // Where steps are audited.
  DeviceAuditLists audit;        ///< [room]
  std::byte* audited = nullptr;  ///< [room] rows: outputs, before they go where they are wanted

  // Where there are messages, that come from other ranks and go back to them.
  std::byte* received_rows = nullptr;
  std::byte* received_plans = nullptr;  ///< each of packed_plan_bytes()
  std::byte* returned = nullptr;        ///< rows of outputs, or of sums

  DeviceArrivals() = default;
  DeviceArrivals(const DeviceSizes& sizes, std::size_t num_assignments, DeviceArena& arena);
};

/// On the host, pinned: what goes to the device and comes back in a step.
struct PinnedStepMemory {
  ExpertId* experts;                ///< [T, k]
  float* weights;                   ///< [T, k]
  float* selection = nullptr;       ///< [T, E], where sizes say that it is needed; else null
  std::int64_t* quotas;             ///< [slots of all ranks]
  std::uint32_t* bad_token;         ///< [1]
  std::uint32_t* first_assignment;  ///< [R + 1]
  std::uint32_t* computed;          ///< [slots]
  std::uint32_t* from_sources;      ///< [R]
  float* y;                         ///< [T, hidden]

  // [R] as on the device.
  std::byte** row_destinations;
  std::byte** plan_destinations;
  ArrivedFrom* sources;

  PinnedStepMemory() = default;
  PinnedStepMemory(const DeviceSizes& sizes, std::size_t num_ranks, DeviceArena& arena);
};

}  // namespace moewe
