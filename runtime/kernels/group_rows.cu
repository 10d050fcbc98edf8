#include "runtime/kernels/block_scan.cuh"
#include "runtime/kernels/group_rows.hpp"
#include "runtime/kernels/grouped_row.hpp"
#include "runtime/kernels/launch.cuh"

namespace moewe {
namespace {

constexpr unsigned int threads = 256;

/// Of all sources together, for all threads.
__device__ std::uint32_t count_before(const GroupRows& work, std::uint32_t slot) {
  __shared__ std::uint32_t sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  std::uint32_t mine = 0;
  for (std::uint32_t s = 0; s < work.num_sources; ++s) {
    const ArrivedFrom source = work.sources[s];
    for (std::uint32_t i = threadIdx.x; i < num_assignments_of(source); i += threads)
      mine += assignments_of(source)[i].slot < slot ? 1U : 0U;
  }
  atomicAdd(&sum, mine);
  __syncthreads();
  return sum;
}

/// One slot per block, which deals places to its threads' assignments in their order.
__global__ void group(GroupRows work) {
  const std::uint32_t slot = blockIdx.x;
  std::uint32_t place = count_before(work, slot);
  if (threadIdx.x == 0) work.first_row[slot] = bounded(work, place);
  if (slot == work.num_slots) return;
  std::uint32_t of_others = 0;
  for (std::uint32_t s = 0; s < work.num_sources; ++s) {
    const ArrivedFrom source = work.sources[s];
    for (std::uint32_t first = 0; first < num_assignments_of(source); first += threads) {
      const std::uint32_t i = first + threadIdx.x;
      const bool is_mine = i < num_assignments_of(source) && assignments_of(source)[i].slot == slot;
      std::uint32_t total = 0;
      const std::uint32_t before = sum_before<threads>(is_mine ? 1 : 0, total);
      if (is_mine) group_row(work, {source, of_others}, i, place + before);
      place += total;
    }
    of_others += num_assignments_of(source);
  }
}

}  // namespace

int launch_group_rows(const GroupRows& work, StreamHandle stream) {
  return start(group, work.num_slots + 1, threads, 0, stream, work);
}

}  // namespace moewe
