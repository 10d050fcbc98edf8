#include "runtime/kernels/count_destinations.hpp"

#include "runtime/kernels/assignments_to.hpp"
#include "runtime/kernels/portable.hpp"

namespace moewe {
namespace {

void count_on_host(const CountDestinations& work) {
  const std::size_t num_tokens = work.num_tokens.value();
  for (std::uint32_t rank = 0; rank < work.num_ranks; ++rank) {
    work.rows[rank] = 0;
    work.assignments[rank] = 0;
    for (std::size_t token = 0; token < num_tokens; ++token) {
      const std::uint32_t count =
          assignments_to(rank, work.slots + token * work.top_k, work.top_k, work.slot_rank);
      work.rows[rank] += count > 0 ? 1 : 0;
      work.assignments[rank] += count;
    }
  }
}

}  // namespace

const Kernel<CountDestinations> count_destinations{"count_destinations", count_on_host,
                                                   MOEWE_ON_GPU(launch_count_destinations)};

}  // namespace moewe
