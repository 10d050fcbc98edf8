#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/plan_piece.hpp"
#include "runtime/kernels/push_plan.hpp"
#include "runtime/kernels/rank_of_row.hpp"

namespace moewe {
namespace {

constexpr unsigned int threads = 256;

/// One assignment per thread; one rank's part per thread, too.
__global__ void push(PushPlan work) {
  const std::uint32_t i = blockIdx.x * threads + threadIdx.x;
  if (i < work.num_ranks) *reinterpret_cast<ArrivedPlan*>(work.destinations[i]) = part_of(work, i);
  if (i >= work.first_assignment[work.num_ranks]) return;
  const std::uint32_t rank = rank_of_row(i, work.first_assignment, work.num_ranks);
  auto* const to = reinterpret_cast<PlannedAssignment*>(work.destinations[rank] + sizeof(ArrivedPlan));
  to[i - work.first_assignment[rank]] = work.planned[i];
}

}  // namespace

int launch_push_plan(const PushPlan& work, StreamHandle stream) {
  const std::uint32_t count = std::max(work.num_ranks, work.max_assignments);
  if (count == 0) return cudaSuccess;
  return start(push, (count + threads - 1) / threads, threads, 0, stream, work);
}

}  // namespace moewe
