#include "runtime/kernels/fill_plan.hpp"

#include "runtime/kernels/assignments_to.hpp"
#include "runtime/kernels/plan_token.hpp"
#include "runtime/kernels/portable.hpp"

namespace moewe {
namespace {

void fill_on_host(const FillPlan& work) {
  const std::uint32_t num_tokens = work.num_tokens.value();
  work.first_row[0] = 0;
  work.first_assignment[0] = 0;
  for (std::uint32_t rank = 0; rank < work.num_ranks; ++rank) {
    std::uint32_t row = 0;
    PlannedAssignment* planned = work.planned + work.first_assignment[rank];
    for (std::uint32_t token = 0; token < num_tokens; ++token) {
      const std::uint32_t* const slots = work.slots + static_cast<std::size_t>(token) * work.top_k;
      const std::uint32_t count = assignments_to(rank, slots, work.top_k, work.slot_rank);
      if (count == 0) continue;
      plan_token(work, rank, token, row++, planned);
      planned += count;
    }
    work.first_row[rank + 1] = work.first_row[rank] + work.rows[rank];
    work.first_assignment[rank + 1] = work.first_assignment[rank] + work.assignments[rank];
  }
}

}  // namespace

const Kernel<FillPlan> fill_plan{"fill_plan", fill_on_host, MOEWE_ON_GPU(launch_fill_plan)};

}  // namespace moewe
