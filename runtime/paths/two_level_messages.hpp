#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "comm/message_transport.hpp"
#include "comm/topology.hpp"
#include "runtime/dispatch_plan.hpp"
#include "runtime/round_audit.hpp"

/// What the roles of the two-level path tell one another: source to relay and back by messages.
namespace moewe::two_level {

/// Who receives for the node of `anyone_there` what `source` sends to it: neighbours of a source send to
/// neighbours of its relay, so that all ranks of a node take their share.
Rank relay_of(const Topology& topology, Rank source, Rank anyone_there);

enum class Message { counts, manifest, rows, outputs };

/// Carries the round, so that no message is taken for one of another round.
Tag tag(Message message, std::uint64_t generation);
Message message_of(Tag tag);

/// First message of a source to each of its relays in a round, also where nothing follows.
struct Counts {
  std::uint64_t generation;
  std::uint64_t num_rows;         ///< distinct, for the whole node
  std::uint64_t num_assignments;  ///< to all experts of the node
  std::uint64_t checksum = 0;     ///< of the above, sent where audited

  std::size_t sent_bytes(const RoundAudit& audit) const {
    return sizeof(Counts) - sizeof checksum + audit.checksum_bytes();
  }
  std::uint64_t checksum_in(const RoundAudit& audit, Rank source, Rank relay) const;
  void check(const RoundAudit& audit, Rank source, Rank relay) const;
};

/// How so many rows are cut for their way: the same on every rank that knows how many there are.
class Chunks {
 public:
  static constexpr std::size_t most = (1U << 20U) - 1;

  Chunks() = default;
  Chunks(std::size_t num_rows, std::size_t row_bytes, std::size_t chunk_bytes)
      : num_rows_(num_rows),
        rows_per_chunk_(std::max(rows_in(row_bytes, chunk_bytes), (num_rows + most - 1) / most)) {}

  /// At least as many as there are of `num_rows` rows or fewer.
  static std::size_t bound(std::size_t num_rows, std::size_t row_bytes, std::size_t chunk_bytes) {
    const std::size_t per_chunk = rows_in(row_bytes, chunk_bytes);
    return std::min(most, (num_rows + per_chunk - 1) / per_chunk);
  }

  std::size_t size() const { return (num_rows_ + rows_per_chunk_ - 1) / rows_per_chunk_; }
  std::size_t first_row(std::size_t chunk) const { return chunk * rows_per_chunk_; }
  std::size_t end_row(std::size_t chunk) const { return std::min(num_rows_, first_row(chunk + 1)); }
  std::size_t num_rows(std::size_t chunk) const { return end_row(chunk) - first_row(chunk); }

 private:
  static std::size_t rows_in(std::size_t row_bytes, std::size_t chunk_bytes) {
    return std::max<std::size_t>(1, chunk_bytes / row_bytes);
  }

  std::size_t num_rows_ = 0;
  std::size_t rows_per_chunk_ = 1;
};

/// What a source sends to a node beside the rows: the assignments by chunk, then by rank of the node, then by
/// token and k. An assignment's row is counted over the node. One block of memory:
///
///   | for each chunk and rank: where its assignments end | assignments | checksums |
///
/// Where audited there is a checksum for the assignments of each chunk and rank, and one for all that comes
/// before it.
struct Manifest {
  std::size_t num_ranks = 0;
  std::span<const std::uint32_t> ends;  ///< [chunks, num_ranks]
  std::span<const PlannedAssignment> assignments;

  static std::size_t ends_bytes(std::size_t num_chunks, std::size_t num_ranks) {
    return num_chunks * num_ranks * sizeof(std::uint32_t);
  }
  static std::size_t bytes_for(std::size_t num_chunks, std::size_t num_ranks, std::size_t num_assignments) {
    return ends_bytes(num_chunks, num_ranks) + num_assignments * sizeof(PlannedAssignment);
  }
  /// Beside these, of so many manifests with so many parts in all.
  static std::size_t checksum_bytes(std::size_t num_parts, std::size_t num_manifests) {
    return (num_parts + num_manifests) * sizeof(std::uint64_t);
  }
  static Manifest at(const std::byte* begin, std::size_t num_chunks, std::size_t num_ranks,
                     std::size_t num_assignments);

  std::size_t num_chunks() const { return ends.size() / num_ranks; }
  std::span<const PlannedAssignment> of_chunk(std::size_t chunk) const {
    return between(chunk * num_ranks, (chunk + 1) * num_ranks);
  }
  std::span<const PlannedAssignment> of(std::size_t chunk, std::size_t rank_on_node) const {
    return between(chunk * num_ranks + rank_on_node, chunk * num_ranks + rank_on_node + 1);
  }

  /// Writes the checksums behind the assignments, which are writable there. `ranks` are those of the node.
  void seal(const RoundAudit& audit, std::span<const Rank> ranks, Rank relay) const;

  /// Throws Error(verification) unless all of it is what the source wrote for this relay.
  void check(const RoundAudit& audit, Rank source, Rank relay) const;

  /// The same for one part's assignments, of which `part` is a copy, on the rank that they are for.
  void check_part(const RoundAudit& audit, Rank source, std::size_t number,
                  std::span<const PlannedAssignment> part) const;

  /// Whether its assignments are in order and every row has some: what for_each_row relies on. Looks at
  /// nothing but the manifest, which may hold anything.
  bool is_sound(const Chunks& chunks) const;

 private:
  std::span<const std::byte> unsealed() const {
    return {reinterpret_cast<const std::byte*>(ends.data()), checksums()};
  }
  const std::byte* checksums() const {
    return reinterpret_cast<const std::byte*>(assignments.data() + assignments.size());
  }
  std::span<const PlannedAssignment> between(std::size_t first_part, std::size_t end_part) const {
    // Other ranks may read them while they are being spoilt, which the checksum of the part then tells.
    const std::size_t end = std::min<std::size_t>(end_part == 0 ? 0 : ends[end_part - 1], assignments.size());
    const std::size_t begin = std::min<std::size_t>(first_part == 0 ? 0 : ends[first_part - 1], end);
    return assignments.subspan(begin, end - begin);
  }
};

/// Calls visit(row of the chunk, assignments of that row by rank of the node) for each row of a chunk.
template <typename Visit>
void for_each_row(const Manifest& manifest, const Chunks& chunks, std::size_t chunk, Visit&& visit) {
  std::vector<std::span<const PlannedAssignment>> rest, of_row(manifest.num_ranks);
  for (std::size_t rank = 0; rank < manifest.num_ranks; ++rank) rest.push_back(manifest.of(chunk, rank));
  for (std::size_t row = chunks.first_row(chunk); row < chunks.end_row(chunk); ++row) {
    for (std::size_t rank = 0; rank < manifest.num_ranks; ++rank) {
      std::size_t count = 0;
      while (count < rest[rank].size() && rest[rank][count].row == row) ++count;
      of_row[rank] = rest[rank].first(count);
      rest[rank] = rest[rank].subspan(count);
    }
    visit(row - chunks.first_row(chunk), std::span(std::as_const(of_row)));
  }
}

}  // namespace moewe::two_level
