#include "launch/carrier_choice.hpp"

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "comm/ucx/ucx_transport.hpp"

namespace moewe {
namespace {

bool can_start(Communicator& communicator, const Backend& backend) {
  try {
    backend.make_transport(communicator);
    return true;
  } catch (const Error& error) {
    if (error.scope() != ErrorScope::shared || error.kind() != ErrorKind::invalid_input) throw;
    return false;
  }
}

}  // namespace

std::vector<Backend> usable_carriers(Communicator& communicator, const Backend& found,
                                     CarrierRequest request) {
  const bool is_asked_for = request != CarrierRequest::automatic;
  together(communicator, [&] {
    if (!is_asked_for || is_between_processes(found)) return;
    throw InvalidInput(
        "--carrier is for ranks that are processes of mpirun or srun; these are threads of one process");
  });
  if (request == CarrierRequest::ucx) return {over_ucx(found)};
  std::vector<Backend> carriers{found};
  const bool may_be_ucx = !is_asked_for && is_between_processes(found) && reason_for_no_ucx().empty();
  if (may_be_ucx && can_start(communicator, over_ucx(found))) carriers.push_back(over_ucx(found));
  return carriers;
}

}  // namespace moewe
