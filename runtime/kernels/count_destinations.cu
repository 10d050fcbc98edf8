#include "runtime/kernels/assignments_to.hpp"
#include "runtime/kernels/count_destinations.hpp"
#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/portable.hpp"

namespace moewe {
namespace {

constexpr unsigned int threads = 256;

/// One rank per block.
__global__ void count(CountDestinations work) {
  __shared__ unsigned int num_rows;
  __shared__ unsigned int num_assignments;
  if (threadIdx.x == 0) num_rows = num_assignments = 0;
  __syncthreads();
  const std::uint32_t num_tokens = work.num_tokens.value();
  unsigned int rows = 0;
  unsigned int assignments = 0;
  for (std::uint32_t token = threadIdx.x; token < num_tokens; token += threads) {
    const std::uint32_t* const slots = work.slots + static_cast<std::size_t>(token) * work.top_k;
    const std::uint32_t mine = assignments_to(blockIdx.x, slots, work.top_k, work.slot_rank);
    rows += mine > 0 ? 1 : 0;
    assignments += mine;
  }
  atomicAdd(&num_rows, rows);
  atomicAdd(&num_assignments, assignments);
  __syncthreads();
  if (threadIdx.x != 0) return;
  work.rows[blockIdx.x] = num_rows;
  work.assignments[blockIdx.x] = num_assignments;
}

}  // namespace

int launch_count_destinations(const CountDestinations& work, StreamHandle stream) {
  if (work.num_ranks == 0) return cudaSuccess;
  return start(count, work.num_ranks, threads, 0, stream, work);
}

}  // namespace moewe
