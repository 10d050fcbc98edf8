#include "runtime/paths/direct_path.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {

using direct::Board;

DirectPath::DirectPath(Rank self, std::vector<Rank> peers, std::size_t num_ranks, PeerMemory& memory,
                       const TokenBuffers& token_buffers)
    : self_(self),
      peers_(std::move(peers)),
      board_(self, num_ranks, memory),
      distance_(num_ranks),
      token_buffers_(token_buffers) {}

void DirectPath::plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const {
  memory.add(PeerMemory::meter_name, board_.memory().bytes_for(board_.lay_out(sizes, peers_.size()).end));
}

void DirectPath::dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) {
  shape_ = shape;
  num_tokens_ = plan.num_tokens();
  awaited_.clear();
  sources_.clear();
  targets_.clear();
  canaries_.clear();
  board_.enter(shape.generation);
  const direct::Regions regions = board_.lay_out(sizes_of(shape, plan, self_), peers_.size());
  next_outputs_ = {regions.outputs, regions.ring_bytes};
  outputs_end_ = regions.outputs_end;
  board_.memory().grow(regions.end);
  if (shape.num_expected_on_node == 0) return;  // which all of them know

  if (shape.audit.is_on()) plant_canaries(regions);
  if (!shape.tokens_place || shape.audit.is_on()) prepare_rows(plan, x, regions);
  write_letters(plan, regions);
  awaited_ = peers_;
  for (const Rank peer : peers_) {
    const auto assignments = plan.to(peer).assignments;
    if (!assignments.empty())
      targets_.push_back({peer, FlowChunks(assignments, shape.flow.chunk_tokens), {}});
  }
  board_.show(Board::dispatched, 1);
}

void DirectPath::plant_canaries(const direct::Regions& regions) {
  constexpr std::array<std::string_view, 4> names{"letters", "manifests", "token rows", "outputs"};
  for (std::size_t i = 0; i < names.size(); ++i)
    canaries_.plant(board_.memory().own(), regions.canaries[i], names[i]);
}

void DirectPath::prepare_rows(const DispatchPlan& plan, std::span<const std::byte> x,
                              const direct::Regions& regions) {
  is_needed_.assign(plan.num_tokens(), 0);
  for (const Rank peer : peers_) {
    for (const std::uint32_t token : plan.to(peer).tokens) is_needed_[token] = 1;
  }
  for (std::uint32_t token = 0; token < is_needed_.size(); ++token) {
    if (is_needed_[token] != 0) prepare_row(token, x, regions);
  }
  finish_stores(shape_.flow.row_stores);
}

void DirectPath::prepare_row(std::uint32_t token, std::span<const std::byte> x,
                             const direct::Regions& regions) {
  const std::size_t offset = token * shape_.row_bytes();
  if (!shape_.tokens_place) {
    copy_row(x.data() + offset, board_.memory().own() + regions.rows + offset, shape_.row_bytes(),
             shape_.flow.row_stores);
  }
  if (!shape_.audit.is_on()) return;
  const RowLabel label{Direction::dispatch, self_, self_, token, 0};
  put_checksum(board_.memory().own() + regions.row_checksums, token,
               shape_.audit.checksum(label, x.subspan(offset, shape_.row_bytes())));
}

void DirectPath::write_letters(const DispatchPlan& plan, const direct::Regions& regions) {
  const TokenPlace rows = shape_.tokens_place.value_or(TokenPlace{direct::in_segment, regions.rows});
  std::uint64_t manifests = regions.manifests;
  for (const Rank peer : peers_) {
    const auto assignments = plan.to(peer).assignments;
    const auto manifest = std::as_bytes(assignments);
    std::copy(manifest.begin(), manifest.end(), board_.memory().own() + manifests);
    board_.write_letter(shape_.audit, peer,
                        {.generation = shape_.generation,
                         .manifest = manifests,
                         .num_assignments = assignments.size(),
                         .rows = rows,
                         .num_rows = plan.num_tokens(),
                         .chunk_tokens = shape_.flow.chunk_tokens,
                         .row_checksums = regions.row_checksums,
                         .manifest_checksum = 0});
    manifests += manifest.size();
  }
}

void DirectPath::collect(RowTable& rows) {
  for (std::size_t i = 0; i < awaited_.size();) {
    if (board_.progress(awaited_[i], Board::dispatched) == 0) {
      ++i;
      continue;
    }
    open_source(awaited_[i], rows);
    awaited_.erase(awaited_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  for (Source& source : sources_) collect_from(source, rows);
}

void DirectPath::open_source(Rank peer, RowTable& rows) {
  const direct::Letter letter = read_letter(peer);
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
  board_.write_place(shape_.audit, peer, outputs);
  const std::byte* const segment = board_.memory().of(peer);
  const auto* there = reinterpret_cast<const PlannedAssignment*>(segment + letter.manifest);
  const auto manifest = rows.keep(peer, {there, letter.num_assignments});
  board_.check_manifest(shape_.audit, peer, letter, manifest);
  Source source{peer, letter, OutputRing(outputs, shape_.sealed_row_bytes()),
                FlowChunks(manifest, letter.chunk_tokens)};
  if (shape_.audit.is_on()) source.row_checksums = segment + letter.row_checksums;
  sources_.push_back(std::move(source));
}

/// What a peer has just written shows how far its cache is.
direct::Letter DirectPath::read_letter(Rank peer) {
  const auto begin = std::chrono::steady_clock::now();
  board_.touch_letter(peer);
  const auto read = std::chrono::steady_clock::now();
  board_.touch_letter(peer);
  const auto read_again = std::chrono::steady_clock::now();
  distance_.add(peer, (read - begin) - (read_again - read));
  return board_.read_letter(shape_.audit, peer);
}

void DirectPath::collect_from(Source& source, RowTable& rows) {
  if (source.in_hand || source.chunks.is_done()) return;
  const FlowChunk& chunk = source.chunks.front();
  if (!source.outputs.has_room(chunk, board_.progress(source.peer, Board::summed))) return;
  rows.add({source.peer, chunk.assignments, rows_of(source), &PlannedAssignment::token,
            source.letter.num_rows, board_.memory().own() + source.outputs.take(chunk),
            source.row_checksums, output_stores(source.peer)});
  source.chunks.pop();
  source.in_hand = true;
}

Stores DirectPath::output_stores(Rank peer) const {
  return shape_.flow.output_stores.value_or(distance_.is_far(peer) ? Stores::streaming : Stores::cached);
}

const std::byte* DirectPath::rows_of(const Source& source) const {
  const TokenPlace& place = source.letter.rows;
  if (place.buffer == direct::in_segment) return board_.memory().of(source.peer) + place.offset;
  return token_buffers_.of(source.peer, place);
}

void DirectPath::give_back() {
  for (Source& source : sources_) {
    if (!source.in_hand) continue;
    board_.show(Board::returned_to(source.peer), source.chunks.num_before(source.letter.num_rows));
    source.in_hand = false;
  }
}

std::size_t DirectPath::collect_returned(ReturnTable& returned) {
  std::size_t complete = num_tokens_;
  for (Target& target : targets_) {
    if (target.chunks.is_done()) continue;
    const std::uint64_t done = board_.progress(target.peer, Board::returned_to(self_));
    const std::byte* segment = board_.memory().of(target.peer);
    while (!target.chunks.is_done() && target.chunks.front().number < done) {
      const FlowChunk& chunk = target.chunks.front();
      if (chunk.first_assignment == 0)
        target.outputs =
            OutputPlaces(board_.read_place(shape_.audit, target.peer), shape_.sealed_row_bytes());
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
  if (shape_.flow.chunk_tokens > 0) board_.show(Board::summed, end / shape_.flow.chunk_tokens);
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

}  // namespace moewe
