// Takes the place of UCX in a build that does without.

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "comm/ucx/ucx_transport.hpp"

namespace moewe {

std::string reason_for_no_ucx() {
  return "this build is without UCX; configure it with -D MOEWE_WITH_UCX=ON";
}

std::string ucx_version() { return ""; }

void release_signals_of_ucx() {}

std::unique_ptr<MessageTransport> make_ucx_transport(Communicator& communicator) {
  together(communicator, [] { throw InvalidInput("carrier ucx cannot be used: " + reason_for_no_ucx()); });
  return nullptr;
}

std::unique_ptr<MessageTransport> make_ucx_gpu_transport(Communicator& communicator) {
  return make_ucx_transport(communicator);
}

std::string reason_for_no_gpu_memory_of_ucx() { return reason_for_no_ucx(); }

}  // namespace moewe
