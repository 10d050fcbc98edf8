#include "runtime/kernels/address_outputs.hpp"

#include "runtime/kernels/portable.hpp"

namespace moewe {
namespace {

void address_on_host(const AddressOutputs& work) {
  for (std::size_t i = 0; i < work.first_assignment[work.num_ranks]; ++i) {
    const PlannedAssignment& assignment = work.planned[i];
    work.addresses[std::size_t{assignment.token} * work.top_k + assignment.k] =
        work.outputs + i * work.row_bytes;
  }
}

}  // namespace

const Kernel<AddressOutputs> address_outputs{"address_outputs", address_on_host,
                                             MOEWE_ON_GPU(launch_address_outputs)};

}  // namespace moewe
