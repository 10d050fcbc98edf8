#include "runtime/kernels/block_scan.cuh"
#include "runtime/kernels/guarded_step.hpp"
#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/step_guard.hpp"

namespace moewe {
namespace {

constexpr unsigned int threads = 256;

constexpr unsigned int warp = 32;

// By the first thread of a warp.
__global__ void open_by_one(OpenStep work) {
  if (threadIdx.x == 0) open(work);
}
__global__ void admit_by_one(AdmitTokens work) {
  if (threadIdx.x == 0) admit(work);
}
__global__ void close_by_one(CloseStep work) {
  if (threadIdx.x == 0) close(work);
}

__global__ void check(CheckChoices work) {
  const std::uint32_t i = blockIdx.x * threads + threadIdx.x;
  if (i < work.num_assignments.value() && !is_usable(work, i)) atomicMin(work.bad_token, i / work.top_k);
}

/// One block.
__global__ void tell(TellRanks work) {
  std::uint32_t mine = 0;
  for (std::uint32_t rank = threadIdx.x; rank < work.num_ranks; rank += threads)
    mine += work.sources[rank].plan->num_assignments;
  std::uint32_t arrived = 0;
  sum_before<threads>(mine, arrived);
  mine = 0;
  for (std::uint32_t slot = threadIdx.x; slot < work.num_slots; slot += threads) mine += work.computed[slot];
  std::uint32_t computed = 0;
  sum_before<threads>(mine, computed);
  const StepWord word = word_of(work, arrived, computed);
  for (std::uint32_t rank = threadIdx.x; rank < work.num_ranks; rank += threads)
    *work.destinations[rank] = word;
}

}  // namespace

int launch_open_step(const OpenStep& work, StreamHandle stream) {
  return start(open_by_one, 1, warp, 0, stream, work);
}

int launch_check_choices(const CheckChoices& work, StreamHandle stream) {
  const std::uint32_t count = work.num_assignments.at_most;
  if (count == 0) return cudaSuccess;
  return start(check, (count + threads - 1) / threads, threads, 0, stream, work);
}

int launch_admit_tokens(const AdmitTokens& work, StreamHandle stream) {
  return start(admit_by_one, 1, warp, 0, stream, work);
}

int launch_tell_ranks(const TellRanks& work, StreamHandle stream) {
  return start(tell, 1, threads, 0, stream, work);
}

int launch_close_step(const CloseStep& work, StreamHandle stream) {
  return start(close_by_one, 1, warp, 0, stream, work);
}

}  // namespace moewe
