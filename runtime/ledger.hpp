#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace moewe {

enum class VerifyLevel {
  off,
  ledger,  ///< every step balances assignments promised against computed and combined
  audit,   ///< also, whatever travels has a checksum, which is compared before it is used
};

/// As options name it.
const char* name_of(VerifyLevel level);

/// A rank's account of one step: what the agreement promised its slots, and what they really computed. It is
/// counted where a row's output has just been written, and nowhere else. Since the promises of all slots add
/// up to the assignments of all tokens that were not dropped, a step that balances on every rank has lost
/// nothing anywhere.
class Ledger {
 public:
  /// Begins a step; the one before must have been closed. `promised` is the agreed number of assignments per
  /// slot.
  void open(VerifyLevel level, std::span<const std::int64_t> promised);

  /// Thread-safe.
  void count_computed(std::size_t slot, std::size_t num_rows);

  /// For this rank's tokens: what was sent out in a round, and how many outputs of it came back.
  void count_returned(std::size_t num_assigned, std::size_t num_returned);

  std::span<const std::int64_t> computed_per_slot() const { return computed_; }

  /// Ends the step. Unless the level is off, throws Error(verification), naming both counts, where a slot did
  /// not compute what was promised, where not as many outputs came back as were sent out, or where that was
  /// not `num_assigned`.
  void close(std::size_t num_assigned);

 private:
  VerifyLevel level_ = VerifyLevel::ledger;
  bool is_open_ = false;
  std::vector<std::int64_t> promised_;
  std::vector<std::int64_t> computed_;
  std::size_t num_sent_ = 0;
  std::size_t num_returned_ = 0;
};

}  // namespace moewe
