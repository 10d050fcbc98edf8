#pragma once

#include <vector>

#include "comm/backend.hpp"

namespace moewe {

/// What is asked to carry messages between processes.
enum class CarrierRequest {
  automatic,
  mpi,
  ucx,
  nccl,  ///< between GPUs alone; what their ranks tell one another goes as in automatic
};

/// Whether ranks are processes, which have carriers to choose from.
inline bool is_between_processes(const Backend& found) { return found.carrier == "mpi"; }

/// Collective. The carrier that was asked for alone; or, where none was, `found` and what else is compiled in
/// and can be started, which is tried. `request` is the same on all ranks. Throws a shared InvalidInput where
/// a carrier is asked for between threads of one process; whether one that is asked for can be started shows
/// when its transport is made, which throws alike.
std::vector<Backend> usable_carriers(Communicator& communicator, const Backend& found,
                                     CarrierRequest request);

}  // namespace moewe
