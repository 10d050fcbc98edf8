#include "runtime/kernels/assignments_to.hpp"
#include "runtime/kernels/block_scan.cuh"
#include "runtime/kernels/fill_plan.hpp"
#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/plan_token.hpp"
#include "runtime/kernels/portable.hpp"

namespace moewe {
namespace {

constexpr unsigned int threads = 256;

/// Of the ranks before the block's; its first thread writes them, the last block's the totals too.
__device__ std::uint32_t write_first(const std::uint32_t* counts, std::uint32_t* first,
                                     std::uint32_t num_ranks) {
  std::uint32_t before = 0;
  for (std::uint32_t rank = 0; rank < blockIdx.x; ++rank) before += counts[rank];
  if (threadIdx.x == 0) first[blockIdx.x] = before;
  if (threadIdx.x == 0 && blockIdx.x + 1 == num_ranks) first[num_ranks] = before + counts[blockIdx.x];
  return before;
}

/// One rank per block, which deals places to its threads' tokens in their order.
__global__ void fill(FillPlan work) {
  const std::uint32_t rank = blockIdx.x;
  write_first(work.rows, work.first_row, work.num_ranks);
  PlannedAssignment* planned =
      work.planned + write_first(work.assignments, work.first_assignment, work.num_ranks);
  __syncthreads();
  const std::uint32_t num_tokens = work.num_tokens.value();
  std::uint32_t row = 0;
  for (std::uint32_t first = 0; first < num_tokens; first += threads) {
    const std::uint32_t token = first + threadIdx.x;
    const std::uint32_t* const slots = work.slots + static_cast<std::size_t>(token) * work.top_k;
    const std::uint32_t count =
        token < num_tokens ? assignments_to(rank, slots, work.top_k, work.slot_rank) : 0;
    std::uint32_t num_rows = 0;
    std::uint32_t num_assignments = 0;
    const std::uint32_t rows_before = sum_before<threads>(count > 0 ? 1 : 0, num_rows);
    const std::uint32_t assignments_before = sum_before<threads>(count, num_assignments);
    if (count > 0) plan_token(work, rank, token, row + rows_before, planned + assignments_before);
    row += num_rows;
    planned += num_assignments;
  }
}

}  // namespace

int launch_fill_plan(const FillPlan& work, StreamHandle stream) {
  if (work.num_ranks == 0) return cudaSuccess;
  return start(fill, work.num_ranks, threads, 0, stream, work);
}

}  // namespace moewe
