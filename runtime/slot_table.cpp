#include "runtime/slot_table.hpp"

#include <algorithm>

namespace moewe {
namespace {

/// Calls visit(bytes of a piece, how many came before them) for `length` bytes from `offset` on.
template <typename Pieces, typename Visit>
void for_each_part(Pieces pieces, std::size_t offset, std::size_t length, Visit&& visit) {
  std::size_t done = 0;
  for (const auto piece : pieces) {
    const std::size_t skipped = std::min(offset, piece.size());
    const std::size_t count = std::min(length - done, piece.size() - skipped);
    if (count > 0) visit(piece.subspan(skipped, count), done);
    offset -= skipped;
    done += count;
  }
}

}  // namespace

void ExpertWeights::read(std::size_t offset, std::span<std::byte> to) const {
  for_each_part(bytes(), offset, to.size(), [&](std::span<const std::byte> part, std::size_t done) {
    std::copy(part.begin(), part.end(), to.subspan(done).begin());
  });
}

void ExpertWeights::write(std::size_t offset, std::span<const std::byte> from) {
  for_each_part(bytes(), offset, from.size(), [&](std::span<std::byte> part, std::size_t done) {
    std::copy_n(from.subspan(done).begin(), part.size(), part.begin());
  });
}

}  // namespace moewe
