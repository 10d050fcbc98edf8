#pragma once

#include "comm/backend.hpp"

namespace moewe {

/// What is asked to carry messages between processes.
enum class CarrierRequest { automatic, mpi, ucx };

/// Collective. `found` with the carrier that was asked for, and why it is that one. `request` is the same on
/// all ranks. Throws a shared InvalidInput where a carrier is asked for and cannot be had; whether UCX can be
/// started shows when the transport is made, which throws alike.
Backend choose_carrier(Communicator& communicator, const Backend& found, CarrierRequest request);

}  // namespace moewe
