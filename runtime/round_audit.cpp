#include "runtime/round_audit.hpp"

#include <array>
#include <cstring>
#include <fmt/format.h>
#include <xxhash.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

std::uint64_t half(Rank rank) { return static_cast<std::uint32_t>(number(rank)); }

/// Apart from those of parts, whose first number has a value of its own.
std::uint64_t seed_of(std::uint64_t generation, const RowLabel& label) {
  const std::array<std::uint64_t, 3> numbers{
      generation, static_cast<std::uint64_t>(label.direction) << 32U | half(label.source),
      std::uint64_t{label.token} << 32U | (label.direction == Direction::back ? label.k : 0)};
  return XXH3_64bits(numbers.data(), sizeof numbers);
}

std::uint64_t seed_of(std::uint64_t generation, const PartLabel& label) {
  constexpr std::uint64_t part = 0x7061'7274;
  const std::array<std::uint64_t, 3> numbers{part, generation, half(label.from) << 32U | half(label.to)};
  return XXH3_64bits(numbers.data(), sizeof numbers);
}

std::string name_of(const RowLabel& label) {
  if (label.direction == Direction::dispatch) {
    return fmt::format("dispatch from rank {} to rank {}: the row of token {} (first for its choice {})",
                       number(label.source), number(label.computed_by), label.token, label.k);
  }
  return fmt::format("return from rank {} to rank {}: the output of token {}, choice {}",
                     number(label.computed_by), number(label.source), label.token, label.k);
}

}  // namespace

std::uint64_t RoundAudit::checksum(const RowLabel& label, std::span<const std::byte> row) const {
  return XXH3_64bits_withSeed(row.data(), row.size(), seed_of(generation_, label));
}

std::uint64_t RoundAudit::checksum(const PartLabel& label,
                                   std::initializer_list<std::span<const std::byte>> bytes) const {
  std::uint64_t seed = seed_of(generation_, label);
  for (const std::span<const std::byte> piece : bytes)
    seed = XXH3_64bits_withSeed(piece.data(), piece.size(), seed);
  return seed;
}

void RoundAudit::check(const RowLabel& label, std::span<const std::byte> row, std::uint64_t written) const {
  compare(label, checksum(label, row), written);
}

void RoundAudit::compare(const RowLabel& label, std::uint64_t found, std::uint64_t written) const {
  if (found == written) return;
  throw Error(ErrorKind::verification, fmt::format("audit of round {}: {} is not what was written there",
                                                   generation_, name_of(label)));
}

void RoundAudit::check(const PartLabel& label, std::initializer_list<std::span<const std::byte>> bytes,
                       std::uint64_t written) const {
  if (checksum(label, bytes) == written) return;
  throw Error(ErrorKind::verification,
              fmt::format("audit of round {}: {} from rank {} to rank {} is not what was written there",
                          generation_, label.what, number(label.from), number(label.to)));
}

void put_checksum(std::byte* first, std::size_t number, std::uint64_t checksum) {
  std::memcpy(first + number * sizeof checksum, &checksum, sizeof checksum);
}

std::uint64_t get_checksum(const std::byte* first, std::size_t number) {
  std::uint64_t checksum = 0;
  std::memcpy(&checksum, first + number * sizeof checksum, sizeof checksum);
  return checksum;
}

}  // namespace moewe
