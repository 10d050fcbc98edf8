#include "runtime/output_ring.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <vector>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr std::size_t row_bytes = 64;
constexpr std::size_t most_outputs = 12;  // of a chunk
constexpr std::size_t chunk_tokens = 3;

/// Assignments of tokens of which some have none, some a few.
std::vector<PlannedAssignment> random_assignments(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<PlannedAssignment> assignments;
  for (std::uint32_t token = 0; token < 100; ++token) {
    const auto count = static_cast<std::uint32_t>(random() % (most_outputs / chunk_tokens + 1));
    for (std::uint32_t k = 0; k < count; ++k) assignments.push_back({token, 0, token, k, 1.0F});
  }
  return assignments;
}

struct Interval {
  std::uint64_t begin, end;
};

bool overlap(const Interval& a, const Interval& b) { return a.begin < b.end && b.begin < a.end; }

/// A writer that goes ahead as far as it may, and a reader that reads one chunk whenever it may not.
class Rehearsal {
 public:
  Rehearsal(const std::vector<PlannedAssignment>& assignments, const OutputRegion& region)
      : region_(region), ring_(region, row_bytes), places_(region, row_bytes) {
    FlowChunks to_write(assignments, chunk_tokens);
    FlowChunks to_read = to_write;
    for (; !to_write.is_done(); to_write.pop()) {
      while (!ring_.has_room(to_write.front(), num_read_)) read(to_read);
      write(to_write.front());
    }
    while (!to_read.is_done()) read(to_read);
  }

 private:
  void write(const FlowChunk& chunk) {
    const std::uint64_t begin = ring_.take(chunk);
    const Interval place{begin, begin + chunk.assignments.size() * row_bytes};
    if (region_.ring_bytes > 0) {
      EXPECT_GE(place.begin, region_.begin);
      EXPECT_LE(place.end, region_.begin + region_.ring_bytes);
    }
    for (const auto& [number, other] : unread_) EXPECT_FALSE(overlap(place, other)) << number;
    unread_[chunk.number] = place;
  }

  void read(FlowChunks& chunks) {
    ASSERT_FALSE(unread_.empty()) << "a writer waits though everything has been read";
    const FlowChunk& chunk = chunks.front();
    EXPECT_EQ(places_.next(chunk), unread_.at(chunk.number).begin);
    places_.pop(chunk);
    unread_.erase(chunk.number);
    num_read_ = chunk.number + 1;
    chunks.pop();
  }

  OutputRegion region_;
  OutputRing ring_;
  OutputPlaces places_;
  std::map<std::size_t, Interval> unread_;
  std::uint64_t num_read_ = 0;
};

TEST(OutputRing, NeverOverwritesWhatHasNotBeenReadAndBothSidesAgree) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const auto assignments = random_assignments(seed);
    for (const std::size_t outputs : {most_outputs, most_outputs + 1, 2 * most_outputs, 7 * most_outputs}) {
      Rehearsal(assignments, {1000, outputs * row_bytes});
    }
  }
}

TEST(OutputRing, GivesEachOutputItsOwnPlaceWithoutARing) { Rehearsal(random_assignments(1), {1000, 0}); }

TEST(OutputRing, RefusesAChunkThatCannotEverFindRoom) {
  const std::vector<PlannedAssignment> assignments(most_outputs + 1, {0, 0, 0, 0, 1.0F});
  const FlowChunks chunks(assignments, chunk_tokens);
  OutputRing ring({0, most_outputs * row_bytes}, row_bytes);
  EXPECT_THROW(ring.has_room(chunks.front(), 0), Error);
}

}  // namespace
}  // namespace moewe
