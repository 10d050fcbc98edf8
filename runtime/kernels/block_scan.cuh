#pragma once

namespace moewe {

/// For each thread of a block of `threads`, in their order: the sum of `mine` over the threads before it; and
/// of all in `total`. Every thread of the block calls it.
template <unsigned int threads>
__device__ inline unsigned int sum_before(unsigned int mine, unsigned int& total) {
  constexpr unsigned int warp = 32;
  constexpr unsigned int all_lanes = 0xFFFFFFFFU;
  constexpr unsigned int num_warps = threads / warp;
  __shared__ unsigned int sums[num_warps];
  const unsigned int lane = threadIdx.x % warp;
  unsigned int up_to_here = mine;
  for (unsigned int step = 1; step < warp; step *= 2) {
    const unsigned int before = __shfl_up_sync(all_lanes, up_to_here, step);
    if (lane >= step) up_to_here += before;
  }
  if (lane == warp - 1) sums[threadIdx.x / warp] = up_to_here;
  __syncthreads();
  unsigned int base = 0;
  total = 0;
  for (unsigned int w = 0; w < num_warps; ++w) {
    if (w < threadIdx.x / warp) base += sums[w];
    total += sums[w];
  }
  __syncthreads();  // before the next call writes sums
  return base + up_to_here - mine;
}

}  // namespace moewe
