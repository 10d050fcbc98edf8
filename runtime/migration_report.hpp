#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "runtime/epoch_state.hpp"

namespace moewe {

/// What has become of a layer's migrations.
struct MigrationReport {
  MigrationState state = MigrationState::idle;  ///< of the last one, as the following
  std::uint64_t from_epoch = 0;
  std::uint64_t to_epoch = 0;
  std::size_t num_moves = 0;       ///< experts that go from one rank to another, over all ranks
  std::size_t num_bytes = 0;       ///< of their weights
  std::size_t sent_bytes = 0;      ///< of these by this rank, so far
  std::size_t received_bytes = 0;  ///< the same
  std::size_t num_steps = 0;       ///< of the layer since it began, until it ended
  std::string reason;              ///< why it was cancelled

  // Of all so far.
  double seconds = 0;  ///< that this rank spent in sending and taking weights, in all steps
  std::size_t num_switched = 0;
  std::size_t num_cancelled = 0;
  std::size_t switched_moves = 0;
  std::size_t switched_bytes = 0;
};

}  // namespace moewe
