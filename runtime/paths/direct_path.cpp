#include "runtime/paths/direct_path.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr std::size_t dispatched_flag = 0;
constexpr std::size_t summed_flag = 1;
constexpr std::size_t first_returned_flag = 2;
constexpr std::uint64_t region_alignment = 64;

/// A flag is a generation, and how far the rank has come in it.
constexpr unsigned progress_bits = 28;
constexpr std::uint64_t most_progress = (std::uint64_t{1} << progress_bits) - 1;

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

}  // namespace

DirectPath::DirectPath(Rank self, std::vector<Rank> peers, std::size_t num_ranks, PeerMemory& memory,
                       const TokenBuffers& token_buffers)
    : self_(self),
      peers_(std::move(peers)),
      num_ranks_(num_ranks),
      places_(align(num_ranks * sizeof(Letter))),
      seals_(places_ + num_ranks * sizeof(OutputRegion)),
      memory_(memory),
      token_buffers_(token_buffers) {
  expects(memory_.num_flags() >= flags_needed(num_ranks), "the direct path has a flag per rank and two more");
}

/// Of outputs there is a ring for each peer where that is less than one place for each.
DirectPath::Regions DirectPath::lay_out(const RoundSizes& sizes) const {
  Layout layout(sizes.is_audited);
  Regions regions{};
  layout.place(seals_ + (sizes.is_audited ? num_ranks_ * sizeof(Seals) : 0));
  regions.canaries[0] = layout.region_end();
  regions.manifests = layout.place(sizes.num_assigned_elsewhere * sizeof(PlannedAssignment));
  regions.canaries[1] = layout.region_end();
  const std::size_t bytes_of_rows = sizes.are_tokens_shared ? 0 : sizes.num_tokens * sizes.row_bytes;
  const std::size_t checksum_bytes = sizes.sealed_row_bytes() - sizes.row_bytes;
  regions.rows = layout.place(bytes_of_rows + sizes.num_tokens * checksum_bytes);
  regions.row_checksums = regions.rows + bytes_of_rows;
  regions.canaries[2] = layout.region_end();
  const std::size_t in_rings = peers_.size() * sizes.outputs_in_ring();
  const bool is_ring = in_rings > 0 && in_rings < sizes.num_expected_from_elsewhere();
  if (is_ring) regions.ring_bytes = sizes.outputs_in_ring() * sizes.sealed_row_bytes();
  regions.outputs =
      layout.place((is_ring ? in_rings : sizes.num_expected_from_elsewhere()) * sizes.sealed_row_bytes());
  regions.outputs_end = regions.canaries[3] = layout.region_end();
  regions.end = layout.end();
  return regions;
}

void DirectPath::plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const {
  memory.add(PeerMemory::meter_name, memory_.bytes_for(lay_out(sizes).end));
}

void DirectPath::dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) {
  shape_ = shape;
  num_tokens_ = plan.num_tokens();
  const Regions regions = lay_out(sizes_of(shape, plan, self_));
  next_outputs_ = {regions.outputs, regions.ring_bytes};
  outputs_end_ = regions.outputs_end;
  memory_.grow(regions.end);

  if (shape.audit.is_on()) plant_canaries(regions);
  if (!shape.tokens_place || shape.audit.is_on()) prepare_rows(plan, x, regions);
  write_letters(plan, regions);
  awaited_ = peers_;
  sources_.clear();
  targets_.clear();
  for (const Rank peer : peers_) {
    const auto assignments = plan.to(peer).assignments;
    if (!assignments.empty())
      targets_.push_back({peer, FlowChunks(assignments, shape.flow.chunk_tokens), {}});
  }
  publish_progress(dispatched_flag, 1);
}

void DirectPath::plant_canaries(const Regions& regions) {
  constexpr std::array<std::string_view, 4> names{"letters", "manifests", "token rows", "outputs"};
  canaries_.clear();
  for (std::size_t i = 0; i < names.size(); ++i)
    canaries_.plant(memory_.own(), regions.canaries[i], names[i]);
}

void DirectPath::prepare_rows(const DispatchPlan& plan, std::span<const std::byte> x,
                              const Regions& regions) {
  is_needed_.assign(plan.num_tokens(), 0);
  for (const Rank peer : peers_) {
    for (const std::uint32_t token : plan.to(peer).tokens) is_needed_[token] = 1;
  }
  for (std::uint32_t token = 0; token < is_needed_.size(); ++token) {
    if (is_needed_[token] != 0) prepare_row(token, x, regions);
  }
  finish_stores(shape_.flow.row_stores);
}

void DirectPath::prepare_row(std::uint32_t token, std::span<const std::byte> x, const Regions& regions) {
  const std::size_t offset = token * shape_.row_bytes();
  if (!shape_.tokens_place) {
    copy_row(x.data() + offset, memory_.own() + regions.rows + offset, shape_.row_bytes(),
             shape_.flow.row_stores);
  }
  if (!shape_.audit.is_on()) return;
  const RowLabel label{Direction::dispatch, self_, self_, token, 0};
  put_checksum(memory_.own() + regions.row_checksums, token,
               shape_.audit.checksum(label, x.subspan(offset, shape_.row_bytes())));
}

void DirectPath::write_letters(const DispatchPlan& plan, const Regions& regions) {
  const TokenPlace rows = shape_.tokens_place.value_or(TokenPlace{in_segment, regions.rows});
  std::uint64_t manifests = regions.manifests;
  for (const Rank peer : peers_) {
    const auto assignments = std::as_bytes(plan.to(peer).assignments);
    std::copy(assignments.begin(), assignments.end(), memory_.own() + manifests);
    letter_to(peer) = {
        shape_.generation,       manifests, plan.to(peer).assignments.size(), rows, plan.num_tokens(),
        shape_.flow.chunk_tokens};
    if (shape_.audit.is_on()) seal_letter(peer, assignments, regions.row_checksums);
    manifests += assignments.size();
  }
}

void DirectPath::seal_letter(Rank peer, std::span<const std::byte> manifest, std::uint64_t row_checksums) {
  Seals& seals = seals_to(peer);
  seals.row_checksums = row_checksums;
  seals.manifest = shape_.audit.checksum({"dispatch: the manifest", self_, peer}, {manifest});
  seals.letter = shape_.audit.checksum(
      {"dispatch: the letter", self_, peer},
      {bytes_of_value(letter_to(peer)), bytes_of_value(row_checksums), bytes_of_value(seals.manifest)});
}

/// Before anything that it says is believed. Returns what the letter's seals were then, apart from the
/// place's.
DirectPath::Seals DirectPath::check_letter(Rank peer, const Letter& letter) const {
  const Seals& there = seals_from(peer);
  const Seals seals{there.row_checksums, there.manifest, there.letter, 0};
  shape_.audit.check(
      {"dispatch: the letter", peer, self_},
      {bytes_of_value(letter), bytes_of_value(seals.row_checksums), bytes_of_value(seals.manifest)},
      seals.letter);
  return seals;
}

void DirectPath::collect(RowTable& rows) {
  for (std::size_t i = 0; i < awaited_.size();) {
    if (progress(awaited_[i], dispatched_flag) == 0) {
      ++i;
      continue;
    }
    open_source(awaited_[i], rows);
    awaited_.erase(awaited_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  for (Source& source : sources_) collect_from(source, rows);
}

void DirectPath::open_source(Rank peer, RowTable& rows) {
  const Letter letter = letter_from(peer);
  const Seals seals = shape_.audit.is_on() ? check_letter(peer, letter) : Seals{};
  const OutputRegion outputs = next_outputs_;
  next_outputs_.begin +=
      outputs.ring_bytes > 0 ? outputs.ring_bytes : letter.num_assignments * shape_.sealed_row_bytes();
  if (letter.generation != shape_.generation || next_outputs_.begin > outputs_end_) {
    throw Error(
        ErrorKind::verification,
        fmt::format("rank {} announces {} assignments of round {} in round {}, which expects {} in all",
                    number(peer), letter.num_assignments, letter.generation, shape_.generation,
                    shape_.num_expected));
  }
  if (letter.num_assignments == 0) return;
  place_for(peer) = outputs;
  const auto* there = reinterpret_cast<const PlannedAssignment*>(memory_.of(peer) + letter.manifest);
  const auto manifest = rows.keep(peer, {there, letter.num_assignments});
  Source source{peer, letter, OutputRing(outputs, shape_.sealed_row_bytes()),
                FlowChunks(manifest, letter.chunk_tokens)};
  if (shape_.audit.is_on()) {
    shape_.audit.check({"dispatch: the manifest", peer, self_}, {std::as_bytes(manifest)}, seals.manifest);
    seals_to(peer).place =
        shape_.audit.checksum({"return: the place of outputs", self_, peer}, {bytes_of_value(outputs)});
    source.row_checksums = memory_.of(peer) + seals.row_checksums;
  }
  sources_.push_back(std::move(source));
}

void DirectPath::collect_from(Source& source, RowTable& rows) {
  if (source.in_hand || source.chunks.is_done()) return;
  const FlowChunk& chunk = source.chunks.front();
  if (!source.outputs.has_room(chunk, progress(source.peer, summed_flag))) return;
  rows.add({source.peer, chunk.assignments, rows_of(source), &PlannedAssignment::token,
            source.letter.num_rows, memory_.own() + source.outputs.take(chunk), source.row_checksums});
  source.chunks.pop();
  source.in_hand = true;
}

const std::byte* DirectPath::rows_of(const Source& source) const {
  const TokenPlace& place = source.letter.rows;
  if (place.buffer == in_segment) return memory_.of(source.peer) + place.offset;
  return token_buffers_.of(source.peer, place);
}

void DirectPath::give_back() {
  for (Source& source : sources_) {
    if (!source.in_hand) continue;
    publish_progress(returned_flag(source.peer), source.chunks.num_before(source.letter.num_rows));
    source.in_hand = false;
  }
}

std::size_t DirectPath::collect_returned(ReturnTable& returned) {
  std::size_t complete = num_tokens_;
  for (Target& target : targets_) {
    if (target.chunks.is_done()) continue;
    const std::uint64_t done = progress(target.peer, returned_flag(self_));
    const std::byte* segment = memory_.of(target.peer);
    while (!target.chunks.is_done() && target.chunks.front().number < done) {
      const FlowChunk& chunk = target.chunks.front();
      if (chunk.first_assignment == 0)
        target.outputs = OutputPlaces(checked_place_from(target.peer), shape_.sealed_row_bytes());
      const std::byte* const outputs = segment + target.outputs.next(chunk);
      returned.add(
          {target.peer, chunk.assignments, outputs, shape_.checksums_behind(outputs, chunk.assignments)},
          shape_.row_bytes());
      target.outputs.pop(chunk);
      target.chunks.pop();
    }
    if (target.chunks.is_done()) continue;
    complete = std::min(complete, target.chunks.front().number * shape_.flow.chunk_tokens);
  }
  return complete;
}

void DirectPath::free_tokens(std::size_t end) {
  if (shape_.flow.chunk_tokens > 0) publish_progress(summed_flag, end / shape_.flow.chunk_tokens);
}

std::optional<Rank> DirectPath::awaits_rows_of() const {
  if (!awaited_.empty()) return awaited_.front();
  for (const Source& source : sources_) {  // whose sums make room for more outputs
    if (!source.chunks.is_done()) return source.peer;
  }
  return std::nullopt;
}

std::optional<Rank> DirectPath::awaits_outputs_of() const {
  for (const Target& target : targets_) {
    if (!target.chunks.is_done()) return target.peer;
  }
  return std::nullopt;
}

/// Letters that say that nothing comes are not waited for.
void DirectPath::list_missing(std::size_t num_lacking, MissingParts& missing) const {
  if (num_lacking > 0) {
    for (const Rank peer : awaited_) missing.add({Direction::dispatch, peer, self_, "the letter"});
  }
  for (const Source& source : sources_) {
    if (source.in_hand || source.chunks.is_done()) continue;
    missing.add({Direction::back, self_, source.peer,
                 fmt::format("room for the outputs of {}, before which rank {} sums others",
                             name_tokens(source.chunks.front().assignments), number(source.peer))});
  }
  for (const Target& target : targets_) {
    if (target.chunks.is_done()) continue;
    missing.add({Direction::back, target.peer, self_,
                 "the outputs of " + name_tokens(target.chunks.front().assignments)});
  }
}

DirectPath::Letter& DirectPath::letter_to(Rank peer) {
  return reinterpret_cast<Letter*>(memory_.own())[index(peer)];
}

const DirectPath::Letter& DirectPath::letter_from(Rank peer) const {
  return reinterpret_cast<const Letter*>(memory_.of(peer))[index(self_)];
}

OutputRegion& DirectPath::place_for(Rank peer) {
  return reinterpret_cast<OutputRegion*>(memory_.own() + places_)[index(peer)];
}

const OutputRegion& DirectPath::place_from(Rank peer) const {
  return reinterpret_cast<const OutputRegion*>(memory_.of(peer) + places_)[index(self_)];
}

OutputRegion DirectPath::checked_place_from(Rank peer) const {
  const OutputRegion place = place_from(peer);
  if (!shape_.audit.is_on()) return place;
  shape_.audit.check({"return: the place of outputs", peer, self_}, {bytes_of_value(place)},
                     seals_from(peer).place);
  return place;
}

DirectPath::Seals& DirectPath::seals_to(Rank peer) {
  return reinterpret_cast<Seals*>(memory_.own() + seals_)[index(peer)];
}

const DirectPath::Seals& DirectPath::seals_from(Rank peer) const {
  return reinterpret_cast<const Seals*>(memory_.of(peer) + seals_)[index(self_)];
}

std::uint64_t DirectPath::progress(Rank peer, std::size_t flag) const {
  const std::uint64_t published = memory_.published(peer, flag);
  return published >> progress_bits == shape_.generation ? published & most_progress : 0;
}

void DirectPath::publish_progress(std::size_t flag, std::uint64_t progress) {
  expects(progress <= most_progress, "a round has fewer than 2^28 chunks");
  memory_.publish(flag, shape_.generation << progress_bits | progress);
}

std::size_t DirectPath::returned_flag(Rank reader) const { return first_returned_flag + index(reader); }

}  // namespace moewe
