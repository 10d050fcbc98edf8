#include "runtime/kernels/address_outputs.hpp"
#include "runtime/kernels/addressed_output.hpp"
#include "runtime/kernels/launch.cuh"

namespace moewe {
namespace {

constexpr unsigned int threads = 256;

__global__ void address(AddressOutputs work) {
  const std::uint32_t i = blockIdx.x * threads + threadIdx.x;
  if (i < work.first_assignment[work.num_ranks]) address_output(work, i);
}

}  // namespace

int launch_address_outputs(const AddressOutputs& work, StreamHandle stream) {
  if (work.max_assignments == 0) return cudaSuccess;
  return start(address, (work.max_assignments + threads - 1) / threads, threads, 0, stream, work);
}

}  // namespace moewe
