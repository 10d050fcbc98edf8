#pragma once

#include "runtime/kernels/address_outputs.hpp"
#include "runtime/kernels/check_logits.hpp"
#include "runtime/kernels/group_rows.hpp"
#include "runtime/kernels/push_plan.hpp"
#include "tests/gpu/plan_run.hpp"

namespace moewe::test {

/// What lies at places that addresses tell, as numbers: which row of which source an input is, which output
/// it becomes, and where (token, k) finds that.
struct ArrivalResult {
  std::vector<std::uint32_t> first_row;
  std::vector<std::ptrdiff_t> inputs;
  std::vector<std::ptrdiff_t> outputs;
  std::vector<std::ptrdiff_t> addresses;
};

/// Each rank of a plan is a source of this rank, whose slots are those of all ranks together.
struct ArrivalCase {
  PlanCase plan;
  std::uint32_t max_rows;
};

inline std::uint32_t num_positions(const PlanCase& c) {
  return 1 + *std::max_element(c.slot_position.begin(), c.slot_position.end());
}

template <typename Byte>
std::vector<std::ptrdiff_t> distances(const std::vector<Byte*>& addresses, const std::byte* from) {
  std::vector<std::ptrdiff_t> result;
  for (const std::byte* address : addresses) result.push_back(address == nullptr ? -1 : address - from);
  return result;
}

inline ArrivalResult run(const ArrivalCase& c, Device& device) {
  constexpr std::size_t row_bytes = 16;
  DeviceWork work(device);
  const FillPlan plan = enqueue_plan(c.plan, work);
  const auto num_ranks = static_cast<std::uint32_t>(c.plan.shape.num_ranks);
  const std::size_t count = c.plan.experts.size();
  const std::size_t part_bytes =
      sizeof(ArrivedPlan) * (2 + count * sizeof(PlannedAssignment) / sizeof(ArrivedPlan));
  std::byte* const parts = work.room<std::byte>(num_ranks * part_bytes);
  std::byte* const rows = work.room<std::byte>(1);  // whose neighbours are named, and not read
  std::vector<std::byte*> destinations;
  std::vector<ArrivedFrom> sources;
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    destinations.push_back(parts + rank * part_bytes);
    sources.push_back({reinterpret_cast<const ArrivedPlan*>(destinations.back()),
                       rows + rank * count * row_bytes, rows, static_cast<std::uint32_t>(count)});
  }
  const std::uint32_t num_slots = num_positions(c.plan) - 1;  // the last one's are left out
  const GroupRows group{work.put(sources),
                        row_bytes,
                        work.room<const std::byte*>(c.max_rows),
                        work.room<std::byte*>(c.max_rows),
                        work.room<std::uint32_t>(num_slots + 1),
                        num_ranks,
                        num_slots,
                        c.max_rows};
  const AddressOutputs address{plan.planned, plan.first_assignment,
                               rows,         work.room<const std::byte*>(count),
                               row_bytes,    plan.top_k,
                               num_ranks,    static_cast<std::uint32_t>(count)};
  work.queue().run(push_plan, {plan.planned, plan.first_row, plan.first_assignment, work.put(destinations),
                               num_ranks, static_cast<std::uint32_t>(count)});
  work.queue().run(group_rows, group);
  work.queue().fill(address.addresses, 0, count * sizeof(std::byte*));
  work.queue().run(address_outputs, address);
  ArrivalResult result;
  result.first_row = work.get(group.first_row, num_slots + 1);
  const std::size_t num_grouped = result.first_row.back();
  result.inputs = distances(work.get(group.inputs, num_grouped), rows);
  result.outputs = distances(work.get(group.outputs, num_grouped), rows);
  result.addresses = distances(work.get(address.addresses, count), rows);
  return result;
}

inline std::vector<ArrivalCase> arrival_cases() {
  std::vector<ArrivalCase> cases;
  for (const PlanCase& plan : plan_cases())
    cases.push_back({plan, static_cast<std::uint32_t>(plan.experts.size())});
  cases.push_back({plan_cases()[3], 100});
  return cases;
}

/// Logits of which some are not finite.
struct LogitsCase {
  std::uint32_t num_tokens;
  std::uint32_t num_experts;
  std::vector<float> logits;
};

struct LogitsResult {
  std::vector<float> logits;
  std::vector<std::uint32_t> bad_token;
};

inline LogitsResult run(const LogitsCase& c, Device& device) {
  DeviceWork work(device);
  float* const logits = work.put(c.logits);
  std::uint32_t* const bad_token = work.put(std::vector<std::uint32_t>{c.num_tokens});
  work.queue().run(check_logits, {logits, bad_token, known_to_one(work, c.num_tokens), c.num_experts});
  return {work.get(logits, c.logits.size()), work.get(bad_token, 1)};
}

inline std::vector<LogitsCase> logits_cases() {
  Random random(3);
  std::vector<LogitsCase> cases{{0, 5, {}}, {70, 9, draw_floats(random, 630)}};
  cases.push_back(cases.back());
  cases.back().logits[629] = std::numeric_limits<float>::quiet_NaN();
  cases.push_back(cases.back());
  cases.back().logits[300] = std::numeric_limits<float>::infinity();
  cases.back().logits[301] = -std::numeric_limits<float>::infinity();
  return cases;
}

}  // namespace moewe::test
