// Takes the place of NCCL in a build that does without.

#include "comm/error.hpp"
#include "comm/nccl/nccl_transport.hpp"
#include "comm/together.hpp"

namespace moewe {

std::string reason_for_no_nccl() {
  return "this build is without NCCL; configure it with -D MOEWE_WITH_NCCL=ON";
}

std::string nccl_version() { return ""; }

std::unique_ptr<DeviceTransport> make_nccl_transport(Communicator& communicator, const Backend&, Device&) {
  together(communicator, [] { throw InvalidInput(reason_for_no_nccl()); });
  return nullptr;
}

}  // namespace moewe
