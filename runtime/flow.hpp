#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "runtime/dispatch_plan.hpp"
#include "runtime/kernels/copy.hpp"

namespace moewe {

/// How a round's rows go through the experts: a matter of speed alone.
struct Flow {
  /// Tokens of each source that go through the experts together, 0 for all. Experts that do little work for a
  /// row are quicker with few, whose rows and outputs stay in the cache.
  std::size_t chunk_tokens = 0;

  /// Chunks of each source whose outputs are kept until they are summed, 0 for all; then their memory is used
  /// again. Fewer, but one at least, while a source has more than its share for one rank.
  std::size_t ring_chunks = 0;

  Stores row_stores = Stores::cached;  ///< of rows that are copied for peers

  /// Of what peers read directly: outputs of a caller's own experts, which they are told, or, where these are
  /// computed apart, their sums. None: past the caches for a peer whose own have been seen to be far away.
  std::optional<Stores> output_stores = std::nullopt;

  bool operator==(const Flow&) const = default;
};

/// Assignments of one source for one rank whose tokens go through the experts together.
struct FlowChunk {
  std::size_t number = 0;  ///< of all chunks of the source's tokens, some of which may be empty here
  std::size_t first_assignment = 0;  ///< of those that the source has for the rank
  std::span<const PlannedAssignment> assignments;
};

/// Cuts what one source has for one rank into its chunks, one after the other.
class FlowChunks {
 public:
  FlowChunks() = default;

  /// `assignments` are ordered by token.
  FlowChunks(std::span<const PlannedAssignment> assignments, std::size_t chunk_tokens)
      : assignments_(assignments), chunk_tokens_(chunk_tokens) {
    cut();
  }

  bool is_done() const { return chunk_.assignments.empty(); }

  /// The chunk that is next. Not of those that are empty.
  const FlowChunk& front() const { return chunk_; }

  /// Chunks, empty ones included, that come before the next one; of `num_tokens`, all of them at the end.
  std::size_t num_before(std::size_t num_tokens) const;

  void pop() {
    chunk_.first_assignment += chunk_.assignments.size();
    cut();
  }

 private:
  void cut();

  std::span<const PlannedAssignment> assignments_;
  std::size_t chunk_tokens_ = 0;
  FlowChunk chunk_;
};

}  // namespace moewe
