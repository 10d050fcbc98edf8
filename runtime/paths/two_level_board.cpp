#include "runtime/paths/two_level_board.hpp"

#include "comm/error.hpp"
#include "runtime/paths/two_level_messages.hpp"

namespace moewe::two_level {
namespace {

/// A flag holds the round and a number of chunks, so that it grows with both.
constexpr std::uint64_t numbers_of_chunks = Chunks::most + 1;

/// A letter is about what `source` has sent to the node of its writer.
PartLabel letter_label(Rank relay, Rank source) { return {"dispatch: the relay's letter", source, relay}; }
PartLabel place_label(Rank expert, Rank source) { return {"return: the place of outputs", expert, source}; }

}  // namespace

Board::Board(std::size_t num_ranks, PeerMemory& memory)
    : num_ranks_(num_ranks),
      places_(num_ranks * sizeof(Letter)),
      checksums_(places_ + num_ranks * sizeof(std::uint64_t)),
      memory_(memory) {
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

void Board::write_letter(const RoundAudit& audit, Rank source, const Letter& letter) {
  reinterpret_cast<Letter*>(memory_.own())[index(source)] = letter;
  if (!audit.is_on()) return;
  put_checksum(memory_.own() + checksums_, number_of_letter(source),
               audit.checksum(letter_label(audit.self(), source), {bytes_of_value(letter)}));
}

Letter Board::read_letter(const RoundAudit& audit, Rank relay, Rank source) const {
  const std::byte* const segment = memory_.of(relay);
  const Letter letter = reinterpret_cast<const Letter*>(segment)[index(source)];
  if (!audit.is_on()) return letter;
  audit.check(letter_label(relay, source), {bytes_of_value(letter)},
              get_checksum(segment + checksums_, number_of_letter(source)));
  return letter;
}

void Board::write_place(const RoundAudit& audit, Rank source, std::uint64_t offset) {
  reinterpret_cast<std::uint64_t*>(memory_.own() + places_)[index(source)] = offset;
  if (!audit.is_on()) return;
  put_checksum(memory_.own() + checksums_, number_of_place(source),
               audit.checksum(place_label(audit.self(), source), {bytes_of_value(offset)}));
}

std::uint64_t Board::read_place(const RoundAudit& audit, Rank expert, Rank source) const {
  const std::byte* const segment = memory_.of(expert);
  const std::uint64_t offset = reinterpret_cast<const std::uint64_t*>(segment + places_)[index(source)];
  if (!audit.is_on()) return offset;
  audit.check(place_label(expert, source), {bytes_of_value(offset)},
              get_checksum(segment + checksums_, number_of_place(source)));
  return offset;
}

}  // namespace moewe::two_level
