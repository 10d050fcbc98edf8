#include "runtime/paths/two_level_board.hpp"

#include "comm/error.hpp"
#include "runtime/paths/two_level_messages.hpp"

namespace moewe::two_level {
namespace {

/// A flag holds the round and a number of chunks, so that it grows with both.
constexpr std::uint64_t numbers_of_chunks = Chunks::most + 1;

}  // namespace

Board::Board(std::size_t num_ranks, PeerMemory& memory)
    : num_ranks_(num_ranks), places_(num_ranks * sizeof(Letter)), memory_(memory) {
  expects(memory_.num_flags() >= flags_needed(num_ranks), "the two-level path has two flags per rank");
}

void Board::show_arrived(Rank source, std::uint64_t generation, std::size_t num_chunks) {
  memory_.publish(flag_arrived(source), generation * numbers_of_chunks + num_chunks);
}

std::size_t Board::num_arrived(Rank relay, Rank source, std::uint64_t generation) const {
  return seen(relay, flag_arrived(source), generation);
}

void Board::show_computed(Rank source, std::uint64_t generation, std::size_t num_chunks) {
  memory_.publish(flag_computed(source), generation * numbers_of_chunks + num_chunks);
}

std::size_t Board::num_computed(Rank expert, Rank source, std::uint64_t generation) const {
  return seen(expert, flag_computed(source), generation);
}

std::size_t Board::seen(Rank writer, std::size_t flag, std::uint64_t generation) const {
  const std::uint64_t value = memory_.published(writer, flag);
  return value / numbers_of_chunks == generation ? value % numbers_of_chunks : 0;
}

Letter& Board::letter(Rank source) { return reinterpret_cast<Letter*>(memory_.own())[index(source)]; }

const Letter& Board::letter(Rank relay, Rank source) const {
  return reinterpret_cast<const Letter*>(memory_.of(relay))[index(source)];
}

std::uint64_t& Board::place(Rank source) {
  return reinterpret_cast<std::uint64_t*>(memory_.own() + places_)[index(source)];
}

std::uint64_t Board::place(Rank expert, Rank source) const {
  return reinterpret_cast<const std::uint64_t*>(memory_.of(expert) + places_)[index(source)];
}

}  // namespace moewe::two_level
