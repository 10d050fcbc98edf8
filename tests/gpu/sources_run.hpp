#pragma once

#include "runtime/kernels/arrange_sources.hpp"
#include "tests/gpu/arrival_run.hpp"

namespace moewe::test {

/// Each rank of a plan a source, whose rows are arranged, and given back as they are.
struct SourcesCase {
  PlanCase plan;
  std::uint32_t room;
  std::uint32_t max_places;
};

struct SourcesResult {
  std::vector<std::byte> rows;
  std::vector<std::int32_t> choices;
  std::vector<float> weights;
  std::vector<std::uint32_t> first_place;
  std::vector<std::uint32_t> counts;
  std::vector<std::uint32_t> computed;
  std::vector<std::byte> returned;  ///< of all rows of the plan, and one more
};

/// What all ranks of the plan are sent, as it lies on the receiver.
inline std::vector<ArrivedFrom> enqueue_arrival(const PlanCase& c, DeviceWork& work, const FillPlan& plan,
                                                std::byte* outputs) {
  const auto count = static_cast<std::uint32_t>(c.experts.size());
  const std::size_t plan_bytes =
      sizeof(ArrivedPlan) * (2 + count * sizeof(PlannedAssignment) / sizeof(ArrivedPlan));
  const std::size_t rows_bytes = (c.shape.num_tokens * c.shape.row_bytes + 15) / 16 * 16;
  std::byte* const parts = work.room<std::byte>(plan.num_ranks * (plan_bytes + rows_bytes));
  std::vector<std::byte*> plans, rows;
  std::vector<ArrivedFrom> sources;
  for (std::size_t rank = 0; rank < plan.num_ranks; ++rank) {
    plans.push_back(parts + rank * (plan_bytes + rows_bytes));
    rows.push_back(plans.back() + plan_bytes);
    sources.push_back({reinterpret_cast<const ArrivedPlan*>(plans.back()), rows.back(), outputs, count});
  }
  work.queue().run(push_rows, {work.put(c.rows), plan.tokens, plan.first_row, work.put(rows),
                               c.shape.row_bytes, plan.num_ranks, count});
  work.queue().run(push_plan, {plan.planned, plan.first_row, plan.first_assignment, work.put(plans),
                               plan.num_ranks, count});
  return sources;
}

inline SourcesResult run(const SourcesCase& c, Device& device) {
  const std::size_t row_bytes = c.plan.shape.row_bytes;
  DeviceWork work(device);
  const FillPlan plan = enqueue_plan(c.plan, work);
  const std::uint32_t num_sources = plan.num_ranks, num_slots = num_positions(c.plan) - 1;
  const std::size_t num_rows = work.get(plan.first_row, num_sources + 1).back() + 1;
  std::byte* const returned = work.room<std::byte>(num_rows * row_bytes);
  const ArrangeSources arrange{work.put(enqueue_arrival(c.plan, work, plan, returned)),
                               work.room<std::byte>(c.max_places * row_bytes),
                               work.room<std::int32_t>(c.max_places * plan.top_k),
                               work.room<float>(c.max_places * plan.top_k),
                               work.room<std::uint32_t>(num_sources + 1),
                               work.room<std::uint32_t>(num_sources),
                               work.put(std::vector<std::uint32_t>(num_slots, 0)),
                               row_bytes,
                               num_sources,
                               num_slots,
                               plan.top_k,
                               c.room,
                               c.max_places};
  work.queue().run(arrange_sources, arrange);
  work.queue().run(return_sources, {arrange.rows, arrange.first_place, arrange.counts, arrange.sources,
                                    row_bytes, num_sources, c.max_places});
  return {work.get(arrange.rows, c.max_places * row_bytes),
          work.get(arrange.choices, c.max_places * plan.top_k),
          work.get(arrange.weights, c.max_places * plan.top_k),
          work.get(arrange.first_place, num_sources + 1),
          work.get(arrange.counts, num_sources),
          work.get(arrange.computed, num_slots),
          work.get(returned, num_rows * row_bytes)};
}

inline std::vector<SourcesCase> sources_cases() {
  const std::vector<PlanCase> plans = plan_cases();
  std::vector<SourcesCase> cases;
  for (const std::size_t i : {0U, 2U, 4U}) {
    const auto most = static_cast<std::uint32_t>(plans[i].experts.size());
    const auto tokens = static_cast<std::uint32_t>(plans[i].shape.num_tokens);
    const auto ranks = static_cast<std::uint32_t>(plans[i].shape.num_ranks);
    cases.push_back({plans[i], 0, most});
    cases.push_back({plans[i], tokens + 1, (tokens + 1) * ranks});
  }
  cases.push_back({plans[2], 0, 60});  // rows that there is no room for
  cases.push_back({plans[2], 20, 90});
  return cases;
}

}  // namespace moewe::test
