#include "runtime/paths/two_level_expert.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "comm/error.hpp"

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
  source.letter = board_.letter(source.relay, source.from);
  source.chunks = Chunks(source.letter.num_rows, shape_.row_bytes(), chunk_bytes_);
  source.manifest = Manifest::at(board_.memory().of(source.relay) + source.letter.manifest,
                                 source.chunks.size(), node_.size(), source.letter.num_assignments);
  std::size_t num_mine = 0;
  for (std::size_t chunk = 0; chunk < source.chunks.size(); ++chunk) {
    num_mine += source.manifest.of(chunk, position_).size();
  }
  const std::size_t outputs = next_output_;
  next_output_ += num_mine * shape_.row_bytes();
  if (next_output_ > outputs_end_) {
    throw Error(ErrorKind::verification,
                fmt::format("rank {} announces {} assignments in round {}, which expects {} in all",
                            number(source.from), num_mine, shape_.generation, shape_.num_expected));
  }
  board_.place(source.from) = outputs;
  source.next_output = board_.memory().own() + outputs;
}

void Expert::collect_from(Incoming& source, RowTable& rows) {
  const std::size_t num_arrived = board_.num_arrived(source.relay, source.from, shape_.generation);
  if (num_arrived == 0) return;
  if (!source.is_known) read_letter(source);
  for (; source.num_collected < num_arrived; ++source.num_collected) {
    const auto mine = source.manifest.of(source.num_collected, position_);
    if (mine.empty()) continue;
    rows.add({source.from, mine, board_.memory().of(source.relay) + source.letter.rows,
              &PlannedAssignment::row, source.letter.num_rows, source.next_output});
    source.next_output += mine.size() * shape_.row_bytes();
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
