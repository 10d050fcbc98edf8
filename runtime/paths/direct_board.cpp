#include "runtime/paths/direct_board.hpp"

#include "comm/error.hpp"
#include "runtime/canaries.hpp"

namespace moewe::direct {
namespace {

constexpr std::uint64_t region_alignment = 64;

std::uint64_t align(std::uint64_t offset) {
  return (offset + region_alignment - 1) / region_alignment * region_alignment;
}

/// Lays regions out one behind the other, with room for canaries between them where these are wanted; its end
/// is the segment's length.
class Layout {
 public:
  explicit Layout(bool has_canaries) : canary_bytes_(has_canaries ? Canaries::bytes : 0) {}

  std::uint64_t place(std::size_t bytes) {
    const std::uint64_t at = align(end_);
    region_end_ = at + bytes;
    end_ = region_end_ + canary_bytes_;
    return at;
  }

  /// Of the region that was placed last.
  std::uint64_t region_end() const { return region_end_; }
  std::uint64_t end() const { return end_; }

 private:
  std::size_t canary_bytes_;
  std::uint64_t region_end_ = 0;
  std::uint64_t end_ = 0;
};

PartLabel letter_label(Rank from, Rank to) { return {"dispatch: the letter", from, to}; }
PartLabel manifest_label(Rank from, Rank to) { return {"dispatch: the manifest", from, to}; }
PartLabel place_label(Rank from, Rank to) { return {"return: the place of outputs", from, to}; }

template <typename T>
T& entry(std::byte* first, Rank rank) {
  return reinterpret_cast<T*>(first)[index(rank)];
}

template <typename T>
const T& entry(const std::byte* first, Rank rank) {
  return reinterpret_cast<const T*>(first)[index(rank)];
}

}  // namespace

Board::Board(Rank self, std::size_t num_ranks, PeerMemory& memory)
    : self_(self),
      num_ranks_(num_ranks),
      places_(align(num_ranks * sizeof(Letter))),
      checksums_(places_ + num_ranks * sizeof(OutputRegion)),
      memory_(memory) {
  expects(memory_.num_flags() >= flags_needed(num_ranks), "the direct path has a flag per rank and two more");
}

Regions Board::lay_out(const RoundSizes& sizes, std::size_t num_peers) const {
  Layout layout(sizes.is_audited);
  Regions regions{};
  layout.place(checksums_ + (sizes.is_audited ? 2 * num_ranks_ * sizeof(std::uint64_t) : 0));
  regions.canaries[0] = layout.region_end();
  regions.manifests = layout.place(sizes.num_assigned_elsewhere * sizeof(PlannedAssignment));
  regions.canaries[1] = layout.region_end();
  const std::size_t bytes_of_rows = sizes.are_tokens_shared ? 0 : sizes.num_tokens * sizes.row_bytes;
  const std::size_t checksum_bytes = sizes.sealed_row_bytes() - sizes.row_bytes;
  regions.rows = layout.place(bytes_of_rows + sizes.num_tokens * checksum_bytes);
  regions.row_checksums = regions.rows + bytes_of_rows;
  regions.canaries[2] = layout.region_end();
  const std::size_t in_rings = num_peers * sizes.outputs_in_ring();
  const bool is_ring = in_rings > 0 && in_rings < sizes.num_expected_from_elsewhere();
  if (is_ring) regions.ring_bytes = sizes.outputs_in_ring() * sizes.sealed_row_bytes();
  regions.outputs =
      layout.place((is_ring ? in_rings : sizes.num_expected_from_elsewhere()) * sizes.sealed_row_bytes());
  regions.outputs_end = regions.canaries[3] = layout.region_end();
  regions.end = layout.end();
  return regions;
}

void Board::show(Flag flag, std::uint64_t progress) {
  expects(progress <= most_progress, "a round has fewer than 2^28 chunks");
  memory_.publish(flag, generation_ << progress_bits | progress);
}

void Board::write_letter(const RoundAudit& audit, Rank to, Letter letter) {
  if (audit.is_on()) {
    const std::span manifest(memory_.own() + letter.manifest,
                             letter.num_assignments * sizeof(PlannedAssignment));
    letter.manifest_checksum = audit.checksum(manifest_label(self_, to), {manifest});
    put_checksum(memory_.own() + checksums_, number_of_letter(to),
                 audit.checksum(letter_label(self_, to), {bytes_of_value(letter)}));
  }
  entry<Letter>(memory_.own(), to) = letter;
}

Letter Board::read_letter(const RoundAudit& audit, Rank from) const {
  const std::byte* const segment = memory_.of(from);
  const Letter letter = entry<Letter>(segment, self_);
  if (audit.is_on()) {
    audit.check(letter_label(from, self_), {bytes_of_value(letter)},
                get_checksum(segment + checksums_, number_of_letter(self_)));
  }
  return letter;
}

void Board::check_manifest(const RoundAudit& audit, Rank from, const Letter& letter,
                           std::span<const PlannedAssignment> manifest) const {
  if (!audit.is_on()) return;
  audit.check(manifest_label(from, self_), {std::as_bytes(manifest)}, letter.manifest_checksum);
}

void Board::write_place(const RoundAudit& audit, Rank to, const OutputRegion& place) {
  entry<OutputRegion>(memory_.own() + places_, to) = place;
  if (!audit.is_on()) return;
  put_checksum(memory_.own() + checksums_, number_of_place(to),
               audit.checksum(place_label(self_, to), {bytes_of_value(place)}));
}

OutputRegion Board::read_place(const RoundAudit& audit, Rank from) const {
  const std::byte* const segment = memory_.of(from);
  const OutputRegion place = entry<OutputRegion>(segment + places_, self_);
  if (audit.is_on()) {
    audit.check(place_label(from, self_), {bytes_of_value(place)},
                get_checksum(segment + checksums_, number_of_place(self_)));
  }
  return place;
}

}  // namespace moewe::direct
