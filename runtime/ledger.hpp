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
  /// `promised` is the agreed number of assignments per slot.
  void open(std::vector<std::int64_t> promised);

  /// Thread-safe.
  void count_computed(std::size_t slot, std::size_t num_rows);

  std::span<const std::int64_t> promised_per_slot() const { return promised_; }
  std::span<const std::int64_t> computed_per_slot() const { return computed_; }

  /// Throws Error(verification), naming the slot and both counts, unless every slot computed what was
  /// promised and `num_combined` outputs came back for `num_assigned` assignments of the rank's own tokens.
  void close(std::size_t num_assigned, std::size_t num_combined) const;

 private:
  std::vector<std::int64_t> promised_;
  std::vector<std::int64_t> computed_;
};

}  // namespace moewe
