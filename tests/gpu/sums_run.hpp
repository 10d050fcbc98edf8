#pragma once

#include "runtime/kernels/push_sums.hpp"
#include "tests/gpu/arrival_run.hpp"

namespace moewe::test {

/// Outputs of a plan's assignments, each rank of the plan a source, that come back as sums.
struct SumsCase {
  SumsCase(const PlanCase& of, std::size_t columns, Dtype type, unsigned int seed)
      : plan(of), hidden(columns), dtype(type) {
    Random random(seed);
    f32 = draw_values<float>(random, dtype == Dtype::f32 ? num_values() : 0);
    bf16 = draw_values<Bf16>(random, dtype == Dtype::bf16 ? num_values() : 0);
  }

  std::size_t num_values() const { return plan.experts.size() * hidden; }
  std::size_t row_bytes() const { return hidden * bytes_of(dtype); }

  PlanCase plan;
  std::size_t hidden;
  Dtype dtype;
  std::vector<float> f32;  ///< outputs by slot, in one of the types
  std::vector<Bf16> bf16;
};

struct SumsResult {
  std::vector<std::byte> sums;            ///< of all rows of the plan, and one more row
  std::vector<std::ptrdiff_t> addresses;  ///< where each (token, k) finds one
};

/// The plan as it arrives, of which the last slot's assignments are left out.
inline ArrivedFrom* enqueue_arrival(const SumsCase& c, DeviceWork& work, const FillPlan& plan,
                                    std::byte* sums) {
  const std::size_t count = c.plan.experts.size();
  const std::size_t part_bytes =
      sizeof(ArrivedPlan) * (2 + count * sizeof(PlannedAssignment) / sizeof(ArrivedPlan));
  std::byte* const parts = work.room<std::byte>(plan.num_ranks * part_bytes);
  std::vector<std::byte*> destinations;
  std::vector<ArrivedFrom> sources;
  for (std::size_t rank = 0; rank < plan.num_ranks; ++rank) {
    destinations.push_back(parts + rank * part_bytes);
    sources.push_back({reinterpret_cast<const ArrivedPlan*>(destinations.back()), nullptr, sums,
                       static_cast<std::uint32_t>(count)});
  }
  work.queue().run(push_plan, {plan.planned, plan.first_row, plan.first_assignment, work.put(destinations),
                               plan.num_ranks, static_cast<std::uint32_t>(count)});
  return work.put(sources);
}

inline SumsResult run(const SumsCase& c, Device& device) {
  DeviceWork work(device);
  const FillPlan plan = enqueue_plan(c.plan, work);
  const auto count = static_cast<std::uint32_t>(c.plan.experts.size());
  const std::size_t num_sums = work.get(plan.first_row, plan.num_ranks + 1).back() + 1;
  std::byte* const sums = work.room<std::byte>(num_sums * c.row_bytes());
  std::byte* const results = c.dtype == Dtype::f32 ? reinterpret_cast<std::byte*>(work.put(c.f32))
                                                   : reinterpret_cast<std::byte*>(work.put(c.bf16));
  const ArrivedFrom* const sources = enqueue_arrival(c, work, plan, sums);
  auto** const addresses = work.room<const std::byte*>(count);
  auto** const found = work.room<const std::byte*>(count);
  work.queue().fill(addresses, 0, count * sizeof *addresses);
  work.queue().fill(found, 0, count * sizeof *found);
  const std::uint32_t num_slots = num_positions(c.plan) - 1;
  work.queue().run(group_rows, {sources, c.row_bytes(), work.room<const std::byte*>(count),
                                work.room<std::byte*>(count), work.room<std::uint32_t>(num_slots + 1),
                                plan.num_ranks, num_slots, count, results, addresses});
  work.queue().run(push_sums, {sources, addresses, plan.num_ranks, static_cast<std::uint32_t>(c.hidden),
                               count + 2, count, c.dtype});
  work.queue().run(address_outputs, {plan.planned, plan.first_assignment, sums, found, c.row_bytes(),
                                     plan.top_k, plan.num_ranks, count, plan.first_row});
  return {work.get(sums, num_sums * c.row_bytes()), distances(work.get(found, count), sums)};
}

inline std::vector<SumsCase> sums_cases() {
  const std::vector<PlanCase> plans = plan_cases();
  std::vector<SumsCase> cases;
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    cases.emplace_back(plans[0], 8, dtype, 1);
    cases.emplace_back(plans[2], 64, dtype, 2);
    cases.emplace_back(plans[2], 21, dtype, 3);
    cases.emplace_back(plans[5], 16, dtype, 4);
  }
  cases.emplace_back(plans[4], 2051, Dtype::bf16, 5);
  return cases;
}

}  // namespace moewe::test
