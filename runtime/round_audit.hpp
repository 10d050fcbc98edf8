#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

#include "comm/rank.hpp"

namespace moewe {

/// Which way a row travels.
enum class Direction : std::uint32_t {
  dispatch,  ///< a token's row from its rank to its experts' rank
  back,      ///< an output, or a partial sum of outputs, to the token's rank
};

/// Whose row it is: of the `token` of rank `source`, and of that token's k-th choice, for a partial sum the
/// first that it holds. `computed_by` is where its experts are. Checksums do not depend on the latter, and
/// those of rows on k only on the way back, since one row may go to several ranks for several choices.
struct RowLabel {
  Direction direction;
  Rank source;
  Rank computed_by;
  std::uint32_t token;
  std::uint32_t k;
};

/// What announces rows: a manifest or a letter, from one rank to another.
struct PartLabel {
  std::string_view what;  ///< for the error alone
  Rank from;
  Rank to;
};

/// Checksums of what travels in one round, which whoever writes it takes and whoever reads it compares. They
/// depend on the bytes and on whose they are in which round, so that what is stale, swapped or meant for
/// somebody else is found as well as what has changed. Of several rows they lie behind the rows:
///
///   | row 0 | row 1 | ... | checksum of row 0 | of row 1 | ... |
///
/// One that was constructed by default is off: there are no checksums then, of no bytes.
class RoundAudit {
 public:
  RoundAudit() = default;

  /// Of the round of this number in its engine, the same on all ranks, on this one.
  RoundAudit(std::uint64_t generation, Rank self) : is_on_(true), generation_(generation), self_(self) {}

  Rank self() const { return self_; }

  bool is_on() const { return is_on_; }

  /// Bytes that a checksum takes.
  std::size_t checksum_bytes() const { return is_on_ ? sizeof(std::uint64_t) : 0; }

  std::uint64_t checksum(const RowLabel& label, std::span<const std::byte> row) const;

  /// Of all bytes of a part, one after the other.
  std::uint64_t checksum(const PartLabel& label,
                         std::initializer_list<std::span<const std::byte>> bytes) const;

  /// Throw Error(verification), which names round, direction, both ranks and the row or the part, where the
  /// bytes have another checksum than the one given.
  void check(const RowLabel& label, std::span<const std::byte> row, std::uint64_t written) const;
  void check(const PartLabel& label, std::initializer_list<std::span<const std::byte>> bytes,
             std::uint64_t written) const;

  /// The same of a row whose checksum was taken elsewhere.
  void compare(const RowLabel& label, std::uint64_t found, std::uint64_t written) const;

 private:
  bool is_on_ = false;
  std::uint64_t generation_ = 0;
  Rank self_{};
};

/// Checksums lie where they have room, at any address.
void put_checksum(std::byte* first, std::size_t number, std::uint64_t checksum);
std::uint64_t get_checksum(const std::byte* first, std::size_t number);

/// The bytes of one value without padding.
template <typename T>
std::span<const std::byte> bytes_of_value(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace moewe
