#include "runtime/kernels/push_plan.hpp"

#include <cstring>

#include "runtime/kernels/plan_piece.hpp"

namespace moewe {
namespace {

void push_on_host(const PushPlan& work) {
  for (std::uint32_t rank = 0; rank < work.num_ranks; ++rank) {
    const ArrivedPlan part = part_of(work, rank);
    std::memcpy(work.destinations[rank], &part, sizeof part);
    if (part.num_assignments == 0) continue;
    std::memcpy(work.destinations[rank] + sizeof part, work.planned + part.first_output,
                part.num_assignments * sizeof(PlannedAssignment));
  }
}

}  // namespace

const Kernel<PushPlan> push_plan{"push_plan", push_on_host, MOEWE_ON_GPU(launch_push_plan)};

}  // namespace moewe
