#include "runtime/output_ring.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {

std::uint64_t OutputPlaces::next(const FlowChunk& chunk) const {
  if (!is_ring()) return region_.begin + chunk.first_assignment * row_bytes_;
  return region_.begin + (used_ + bytes_of(chunk) > region_.ring_bytes ? 0 : used_);
}

void OutputPlaces::pop(const FlowChunk& chunk) { used_ = next(chunk) + bytes_of(chunk) - region_.begin; }

bool OutputRing::has_room(const FlowChunk& chunk, std::uint64_t num_read) {
  if (!places_.is_ring()) return true;
  while (!in_use_.empty() && in_use_.front().number < num_read) in_use_.pop_front();
  const std::uint64_t begin = places_.next(chunk);
  const std::uint64_t end = begin + places_.bytes_of(chunk);
  if (!places_.holds(chunk)) {
    throw Error(ErrorKind::verification, fmt::format("chunk {} has {} assignments, more than its ring holds",
                                                     chunk.number, chunk.assignments.size()));
  }
  return std::none_of(in_use_.begin(), in_use_.end(),
                      [&](const Written& written) { return written.begin < end && begin < written.end; });
}

std::uint64_t OutputRing::take(const FlowChunk& chunk) {
  const std::uint64_t place = places_.next(chunk);
  if (places_.is_ring()) in_use_.push_back({chunk.number, place, place + places_.bytes_of(chunk)});
  places_.pop(chunk);
  return place;
}

}  // namespace moewe
