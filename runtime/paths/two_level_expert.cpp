#include "runtime/paths/two_level_expert.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "comm/error.hpp"
#include "runtime/paths/packed_rows.hpp"

namespace moewe::two_level {

Expert::Expert(Rank self, const Topology& topology, std::span<const Rank> peers, Board& board,
               std::size_t chunk_bytes)
    : node_(topology.node_ranks(self)),
      position_(static_cast<std::size_t>(std::find(node_.begin(), node_.end(), self) - node_.begin())),
      board_(board),
      chunk_bytes_(chunk_bytes) {
  for (const Rank source : peers) {
    incoming_.emplace_back();
    incoming_.back().from = source;
    incoming_.back().relay = relay_of(topology, source, self);
  }
}

void Expert::begin(const RoundShape& shape, std::size_t first_output, std::size_t outputs_end) {
  shape_ = shape;
  next_output_ = first_output;
  outputs_end_ = outputs_end;
  for (Incoming& source : incoming_) {
    source.is_known = false;
    source.chunks = Chunks();
    source.num_collected = source.num_given_back = 0;
  }
}

void Expert::collect(RowTable& rows) {
  for (Incoming& source : incoming_) {
    const bool is_finished = source.is_known && source.num_collected == source.chunks.size();
    if (!is_finished) collect_from(source, rows);
  }
}

void Expert::read_letter(Incoming& source) {
  source.is_known = true;
  source.letter = board_.read_letter(shape_.audit, source.relay, source.from);
  source.chunks = Chunks(source.letter.num_rows, shape_.sealed_row_bytes(), chunk_bytes_);
  source.manifest = Manifest::at(board_.memory().of(source.relay) + source.letter.manifest,
                                 source.chunks.size(), node_.size(), source.letter.num_assignments);
  if (shape_.audit.is_on()) source.manifest.check(shape_.audit, source.from, source.relay);
  std::size_t num_mine = 0;
  for (std::size_t chunk = 0; chunk < source.chunks.size(); ++chunk) {
    num_mine += source.manifest.of(chunk, position_).size();
  }
  const std::size_t outputs = next_output_;
  next_output_ += num_mine * shape_.sealed_row_bytes();
  if (next_output_ > outputs_end_) {
    throw Error(ErrorKind::verification,
                fmt::format("rank {} announces {} assignments in round {}, which expects {} in all",
                            number(source.from), num_mine, shape_.generation, shape_.num_expected));
  }
  board_.write_place(shape_.audit, source.from, outputs);
  source.next_output = board_.memory().own() + outputs;
}

void Expert::collect_from(Incoming& source, RowTable& rows) {
  const std::size_t num_arrived = board_.num_arrived(source.relay, source.from, shape_.generation);
  if (num_arrived == 0) return;
  if (!source.is_known) read_letter(source);
  for (; source.num_collected < num_arrived; ++source.num_collected) {
    collect_chunk(source, source.num_collected, rows);
  }
}

void Expert::collect_chunk(Incoming& source, std::size_t chunk, RowTable& rows) {
  const auto mine = rows.keep(source.from, source.manifest.of(chunk, position_));
  if (shape_.audit.is_on())
    source.manifest.check_part(shape_.audit, source.from, chunk * node_.size() + position_, mine);
  if (mine.empty()) return;
  const PackedRows packed = packed_rows(shape_, board_.memory().of(source.relay) + source.letter.rows,
                                        source.chunks.first_row(chunk), source.chunks.num_rows(chunk));
  rows.add({source.from, mine, packed.inputs, &PlannedAssignment::row, source.letter.num_rows,
            source.next_output, packed.checksums});
  source.next_output += mine.size() * shape_.sealed_row_bytes();
}

/// A relay shows nothing of a source that sends nothing to the node.
void Expert::list_missing(std::size_t num_lacking, MissingParts& missing) const {
  if (num_lacking == 0) return;
  for (const Incoming& source : incoming_) {
    if (source.is_known && source.num_collected == source.chunks.size()) continue;
    const std::string whose = fmt::format("of rank {}", number(source.from));
    const std::string what =
        source.is_known ? fmt::format("the rows {}'s {}", whose,
                                      name_tokens(source.manifest.of(source.num_collected, position_)))
                        : fmt::format("the letter {}, if it sends rows", whose);
    missing.add({Direction::dispatch, source.relay, node_[position_], what});
  }
}

void Expert::give_back() {
  for (Incoming& source : incoming_) {
    if (source.num_given_back == source.num_collected) continue;
    source.num_given_back = source.num_collected;
    board_.show_computed(source.from, shape_.generation, source.num_given_back);
  }
}

}  // namespace moewe::two_level
