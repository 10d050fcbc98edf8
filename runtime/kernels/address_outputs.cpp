#include "runtime/kernels/address_outputs.hpp"

#include "runtime/kernels/addressed_output.hpp"

namespace moewe {
namespace {

void address_on_host(const AddressOutputs& work) {
  for (std::uint32_t i = 0; i < work.first_assignment[work.num_ranks]; ++i) address_output(work, i);
}

}  // namespace

const Kernel<AddressOutputs> address_outputs{"address_outputs", address_on_host,
                                             MOEWE_ON_GPU(launch_address_outputs)};

}  // namespace moewe
