#pragma once

#include <algorithm>
#include <numeric>

#include "runtime/kernels/choose_slots.hpp"
#include "runtime/kernels/count_destinations.hpp"
#include "runtime/kernels/fill_plan.hpp"
#include "runtime/kernels/push_rows.hpp"
#include "tests/gpu/device_work.hpp"
#include "tests/gpu/random_values.hpp"

namespace moewe::test {

struct PlanShape {
  std::size_t num_tokens;
  std::size_t top_k;
  std::size_t num_experts;
  std::size_t num_ranks;
  std::size_t most_slots;  ///< of an expert, on ranks of their own
  std::size_t dropped;     ///< assignments in a hundred
  std::size_t row_bytes;
};

/// A rank's tokens, and where the slots of their experts are.
struct PlanCase {
  PlanCase(const PlanShape& of, unsigned int seed) : shape(of) {
    Random random(seed);
    experts = draw_experts(random, of.num_tokens, of.top_k, of.num_experts, of.dropped);
    weights = draw_floats(random, experts.size());
    for (std::size_t i = 0; i < of.num_tokens * of.row_bytes; ++i)
      rows.push_back(static_cast<std::byte>(draw(random, 0, 255)));
    place_slots(random);
    deal_quotas(random);
  }

  PlanShape shape;
  std::vector<ExpertId> experts;
  std::vector<float> weights;
  std::vector<std::byte> rows;
  std::vector<std::uint32_t> first_slot{0};
  std::vector<std::uint32_t> slot_rank;  ///< of an expert ascending
  std::vector<std::uint32_t> slot_position;
  std::vector<std::int64_t> quotas;  ///< empty where no expert has two slots

 private:
  void place_slots(Random& random) {
    std::vector<std::uint32_t> num_on_rank(shape.num_ranks, 0);
    for (std::size_t e = 0; e < shape.num_experts; ++e) {
      const std::size_t count = draw(random, 1, std::min(shape.most_slots, shape.num_ranks));
      std::vector<std::uint32_t> ranks(shape.num_ranks);
      std::iota(ranks.begin(), ranks.end(), 0U);
      std::shuffle(ranks.begin(), ranks.end(), random);
      std::sort(ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(count));
      for (std::size_t s = 0; s < count; ++s) {
        slot_rank.push_back(ranks[s]);
        slot_position.push_back(num_on_rank[ranks[s]]++);
      }
      first_slot.push_back(static_cast<std::uint32_t>(slot_rank.size()));
    }
  }

  void deal_quotas(Random& random) {
    if (slot_rank.size() == shape.num_experts) return;
    quotas.assign(slot_rank.size(), 0);
    for (const ExpertId expert : experts) {
      if (expert == ExpertId{-1}) continue;
      const std::size_t e = index(expert);
      ++quotas[draw(random, first_slot[e], first_slot[e + 1] - 1)];
    }
  }
};

/// What kernels make of it.
struct PlanResult {
  std::vector<std::uint32_t> slots;
  std::vector<std::uint32_t> first_row;
  std::vector<std::uint32_t> first_assignment;
  std::vector<std::uint32_t> tokens;
  std::vector<PlannedAssignment> planned;
  std::vector<std::byte> pushed;  ///< all ranks' rows, each rank's a byte behind the one before
};

/// Of the plan's kernels one after the other, without a look at what each yields.
inline FillPlan enqueue_plan(const PlanCase& c, DeviceWork& work) {
  const DeviceCount num_tokens = known_to_one(work, static_cast<std::uint32_t>(c.shape.num_tokens));
  const auto top_k = static_cast<std::uint32_t>(c.shape.top_k);
  const auto num_ranks = static_cast<std::uint32_t>(c.shape.num_ranks);
  const std::size_t num_assignments = c.experts.size();
  const ChooseSlots choose{work.put(c.experts),
                           work.put(c.first_slot),
                           c.quotas.empty() ? nullptr : work.put(c.quotas),
                           work.room<std::uint32_t>(num_assignments),
                           known_to_one(work, static_cast<std::uint32_t>(num_assignments)),
                           static_cast<std::uint32_t>(c.shape.num_experts)};
  const CountDestinations count{choose.slots,
                                work.put(c.slot_rank),
                                work.room<std::uint32_t>(num_ranks),
                                work.room<std::uint32_t>(num_ranks),
                                num_tokens,
                                top_k,
                                num_ranks};
  const FillPlan fill{choose.slots,
                      work.put(c.weights),
                      count.slot_rank,
                      work.put(c.slot_position),
                      count.rows,
                      count.assignments,
                      work.room<std::uint32_t>(num_ranks + 1),
                      work.room<std::uint32_t>(num_ranks + 1),
                      work.room<std::uint32_t>(num_assignments),
                      work.room<PlannedAssignment>(num_assignments),
                      num_tokens,
                      top_k,
                      num_ranks};
  work.queue().run(choose_slots, choose);
  work.queue().run(count_destinations, count);
  work.queue().run(fill_plan, fill);
  return fill;
}

/// Pushes the plan's rows, each rank's where its room begins.
inline std::vector<std::byte> push(const PlanCase& c, DeviceWork& work, const FillPlan& plan,
                                   const std::vector<std::uint32_t>& first_row) {
  const std::size_t bytes = first_row.back() * c.shape.row_bytes + c.shape.num_ranks;
  auto* const room = work.room<std::byte>(bytes);
  std::vector<std::byte*> destinations;
  for (std::size_t rank = 0; rank < c.shape.num_ranks; ++rank)
    destinations.push_back(room + first_row[rank] * c.shape.row_bytes + rank);
  const PushRows push{work.put(c.rows),  plan.tokens,    plan.first_row,      work.put(destinations),
                      c.shape.row_bytes, plan.num_ranks, first_row.back() + 3};
  work.queue().run(push_rows, push);
  return work.get(room, bytes);
}

inline PlanResult run(const PlanCase& c, Device& device) {
  DeviceWork work(device);
  const FillPlan plan = enqueue_plan(c, work);
  PlanResult result;
  result.slots = work.get(plan.slots, c.experts.size());
  result.first_row = work.get(plan.first_row, c.shape.num_ranks + 1);
  result.first_assignment = work.get(plan.first_assignment, c.shape.num_ranks + 1);
  result.tokens = work.get(plan.tokens, result.first_row.back());
  result.planned = work.get(plan.planned, result.first_assignment.back());
  result.pushed = push(c, work, plan, result.first_row);
  return result;
}

inline std::vector<PlanCase> plan_cases() {
  std::vector<PlanCase> cases;
  cases.emplace_back(PlanShape{0, 2, 4, 3, 1, 0, 16}, 1);
  cases.emplace_back(PlanShape{1, 1, 1, 1, 1, 0, 1}, 2);
  cases.emplace_back(PlanShape{50, 4, 16, 5, 1, 10, 32}, 3);
  cases.emplace_back(PlanShape{261, 3, 9, 3, 3, 5, 46}, 4);
  cases.emplace_back(PlanShape{9, 6, 6, 8, 8, 0, 16400}, 5);
  cases.emplace_back(PlanShape{40, 3, 9, 2, 2, 100, 8}, 6);
  return cases;
}

}  // namespace moewe::test
