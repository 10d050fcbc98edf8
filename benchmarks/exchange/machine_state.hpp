#pragma once

#include <cstddef>
#include <string>

#include "comm/backend.hpp"

namespace moewe::bench {

/// How quickly two cores see what the other has written; it may change within seconds where cores are
/// virtual.
struct MachineState {
  double ping_pong_s = 0;  ///< one way, between ranks 0 and 1; 0 without shared memory

  /// "near": caches are shared or next to each other; "far"; or "none" without shared memory.
  std::string name() const;
};

/// Measures the state between the ranks of one communicator.
class StateProbe {
 public:
  /// Collective. `communicator` outlives the probe.
  StateProbe(Communicator& communicator, const Backend& backend);

  /// Collective and blocking, for less than a millisecond where nobody else uses the cores.
  MachineState measure();

 private:
  double ping();

  Communicator& communicator_;
  MemoryMeter meter_;
  PeerMemoryOffer memory_;
  std::uint64_t generation_ = 0;
};

}  // namespace moewe::bench
