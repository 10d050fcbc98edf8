#include "runtime/kernels/address_outputs.hpp"
#include "runtime/kernels/launch.cuh"

namespace moewe {
namespace {

constexpr unsigned int threads = 256;

__global__ void address(AddressOutputs work) {
  const std::size_t i = static_cast<std::size_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= work.first_assignment[work.num_ranks]) return;
  const PlannedAssignment assignment = work.planned[i];
  work.addresses[std::size_t{assignment.token} * work.top_k + assignment.k] =
      work.outputs + i * work.row_bytes;
}

}  // namespace

int launch_address_outputs(const AddressOutputs& work, StreamHandle stream) {
  if (work.max_assignments == 0) return cudaSuccess;
  return start(address, (work.max_assignments + threads - 1) / threads, threads, 0, stream, work);
}

}  // namespace moewe
