#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace moewe {

enum class VerifyLevel {
  off,
  ledger,  ///< every step balances assignments promised against computed and combined
};

/// A rank's account of one step: what the agreement promised its slots, and what they really computed. It is
/// counted where a row's output has just been written, and nowhere else. Since the promises of all slots add
/// up to the assignments of all tokens, a step that balances on every rank has lost nothing anywhere.
class Ledger {
 public:
  /// Begins a step; the one before must have been closed. `promised` is the agreed number of assignments per
  /// slot.
  void open(VerifyLevel level, std::vector<std::int64_t> promised);

  /// Thread-safe.
  void count_computed(std::size_t slot, std::size_t num_rows);

  std::span<const std::int64_t> promised_per_slot() const { return promised_; }
  std::span<const std::int64_t> computed_per_slot() const { return computed_; }

  /// Ends the step. Unless the level is off, throws Error(verification), naming the slot and both counts,
  /// where a slot did not compute what was promised, or where not `num_assigned` outputs came back for the
  /// rank's own tokens.
  void close(std::size_t num_assigned, std::size_t num_returned);

 private:
  VerifyLevel level_ = VerifyLevel::ledger;
  bool is_open_ = false;
  std::vector<std::int64_t> promised_;
  std::vector<std::int64_t> computed_;
};

}  // namespace moewe
