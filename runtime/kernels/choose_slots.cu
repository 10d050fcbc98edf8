#include "runtime/kernels/block_scan.cuh"
#include "runtime/kernels/choose_slots.hpp"
#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/portable.hpp"
#include "runtime/kernels/slot_of_order.hpp"

namespace moewe {
namespace {

constexpr unsigned int threads = 256;

/// One expert per block; the block beyond them marks what was dropped.
__global__ void choose(ChooseSlots work) {
  const std::uint32_t expert = blockIdx.x;
  const bool is_for_dropped = expert == work.num_experts;
  const std::uint32_t count = work.num_assignments.value();
  std::uint32_t num_dealt = 0;
  for (std::uint32_t first = 0; first < count; first += threads) {
    const std::uint32_t i = first + threadIdx.x;
    const std::int32_t mine = i < count ? static_cast<std::int32_t>(work.experts[i]) : -2;
    if (is_for_dropped) {
      if (mine == -1) work.slots[i] = no_slot;
      continue;
    }
    const bool is_chosen = mine == static_cast<std::int32_t>(expert);
    std::uint32_t total = 0;
    const std::uint32_t before = sum_before<threads>(is_chosen ? 1 : 0, total);
    if (is_chosen) work.slots[i] = slot_of(work, expert, num_dealt + before);
    num_dealt += total;
  }
}

}  // namespace

int launch_choose_slots(const ChooseSlots& work, StreamHandle stream) {
  if (work.num_assignments.at_most == 0) return cudaSuccess;
  return start(choose, work.num_experts + 1, threads, 0, stream, work);
}

}  // namespace moewe
