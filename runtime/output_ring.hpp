#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "runtime/flow.hpp"

namespace moewe {

/// Memory for the outputs of what one source has for one rank: for each in its own place, or, where
/// `ring_bytes` is not 0, for as many chunks as find room in a ring of that size.
struct OutputRegion {
  std::uint64_t begin = 0;
  std::uint64_t ring_bytes = 0;
};

/// Where in its region each chunk's outputs lie. Both sides ask for all chunks in their order and hear the
/// same.
class OutputPlaces {
 public:
  OutputPlaces() = default;
  OutputPlaces(const OutputRegion& region, std::size_t row_bytes) : region_(region), row_bytes_(row_bytes) {}

  bool is_ring() const { return region_.ring_bytes > 0; }
  std::size_t bytes_of(const FlowChunk& chunk) const { return chunk.assignments.size() * row_bytes_; }
  bool holds(const FlowChunk& chunk) const { return !is_ring() || bytes_of(chunk) <= region_.ring_bytes; }

  /// Of the chunk that comes next. A chunk is never cut at the end of the ring.
  std::uint64_t next(const FlowChunk& chunk) const;
  void pop(const FlowChunk& chunk);

 private:
  OutputRegion region_;
  std::size_t row_bytes_ = 0;
  std::uint64_t used_ = 0;  // of the region, up to where the last chunk ends
};

/// The same on the side that writes: it waits until the chunks that lay there before have been read.
class OutputRing {
 public:
  OutputRing() = default;
  OutputRing(const OutputRegion& region, std::size_t row_bytes) : places_(region, row_bytes) {}

  /// Whether the next chunk may be written, `num_read` being the number of the first chunk that has not been
  /// read. Throws Error(verification) if it is larger than the ring.
  bool has_room(const FlowChunk& chunk, std::uint64_t num_read);

  /// Takes the chunk's place, which has room.
  std::uint64_t take(const FlowChunk& chunk);

 private:
  struct Written {
    std::uint64_t number;
    std::uint64_t begin;
    std::uint64_t end;
  };

  OutputPlaces places_;
  std::deque<Written> in_use_;  // in the order of chunks
};

}  // namespace moewe
