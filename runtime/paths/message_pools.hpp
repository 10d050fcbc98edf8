#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "comm/buffer.hpp"
#include "comm/memory_meter.hpp"
#include "comm/rank.hpp"
#include "runtime/memory_plan.hpp"
#include "runtime/path.hpp"

namespace moewe {

/// A rank's memory for what a message path sends and receives in a round: a pool of each kind, of which every
/// peer takes its part when its size is known.
class MessagePools {
 public:
  enum Kind : std::size_t {
    packed_rows,       ///< to peers
    returned_outputs,  ///< of those rows
    manifests,         ///< of peers
    received_rows,     ///< of peers
    computed_outputs,  ///< of those rows
    num_kinds,
  };

  explicit MessagePools(MemoryMeter& meter);

  /// What `begin` takes.
  static void plan(const RoundSizes& sizes, MemoryPlan& memory);

  /// Nothing is taken of any pool. Bytes of the round before are lost.
  void begin(const RoundSizes& sizes);
  void release();

  /// Throws Error(verification) where more is taken than a round of these sizes can need, since what that
  /// rank has announced is then not what was agreed on.
  std::span<std::byte> take(Kind kind, std::size_t bytes, Rank announced_by);

 private:
  struct Pool {
    GrowingBuffer memory;
    std::span<std::byte> rest;
  };

  std::vector<Pool> pools_;  // by kind
};

}  // namespace moewe
