#include "launch/carrier_choice.hpp"

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "comm/ucx/ucx_transport.hpp"

namespace moewe {
namespace {

bool is_between_processes(const Backend& found) { return found.carrier == "mpi"; }

std::string reason_for(const Backend& found, CarrierRequest request) {
  if (request != CarrierRequest::automatic) return "asked for";
  return is_between_processes(found) ? "the default" : "threads of one process";
}

}  // namespace

Backend choose_carrier(Communicator& communicator, const Backend& found, CarrierRequest request) {
  together(communicator, [&] {
    if (request == CarrierRequest::automatic || is_between_processes(found)) return;
    throw InvalidInput(
        "--carrier is for ranks that are processes of mpirun or srun; these are threads of one process");
  });
  Backend chosen = request == CarrierRequest::ucx ? over_ucx(found) : found;
  chosen.carrier_reason = reason_for(found, request);
  return chosen;
}

}  // namespace moewe
