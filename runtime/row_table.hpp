#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/buffer.hpp"
#include "comm/rank.hpp"
#include "runtime/dispatch_plan.hpp"
#include "runtime/kernels/copy.hpp"
#include "runtime/round_audit.hpp"

namespace moewe {

/// One row for one expert: where it lies, where the expert's output goes, and whose it is. Whoever computes
/// reads and writes these addresses and never asks what is behind them.
struct Row {
  const std::byte* input;
  std::byte* output;
  Rank source;
  std::uint32_t token;  ///< of the source's in this round
  std::uint32_t k;
  Stores stores = Stores::cached;  ///< how the output is best written
};

/// Assignments of one source that have arrived together: one after the other in `inputs`, by row or by token,
/// and in `outputs`, in their own order: their outputs or, to be combined fast, sums of these by row.
struct ArrivedRows {
  Rank source;
  std::span<const PlannedAssignment> assignments;
  const std::byte* inputs;
  std::uint32_t PlannedAssignment::*input_index;  ///< which number of an assignment counts rows in `inputs`
  std::size_t num_inputs;                         ///< rows that `inputs` holds
  std::byte* outputs;  ///< what is given back; where audited, with room for its checksums behind it

  /// Where audited, what the source computed: checksums with the same numbers as `inputs`. Null for rows that
  /// have not travelled.
  const std::byte* input_checksums = nullptr;

  Stores output_stores = Stores::cached;  ///< how what is given back is best written

  /// Where their outputs are computed, in their own order: set by the table that they are added to.
  std::byte* results = nullptr;
};

/// What is the same for all rows of a round.
struct RowRules {
  std::size_t row_bytes = 0;
  bool are_summed = false;    ///< outputs, as soon as a table of them is computed
  std::size_t num_apart = 0;  ///< outputs of a table that are computed in memory of their own, at most
  RoundAudit audit = {};
};

/// Rows of one round by the slot that computes them. Since it is agreed how many each slot gets, each has its
/// place from the start; those that have arrived are handed out once.
///
/// Outputs that are only read to be summed on this rank are computed apart, in memory that is used again for
/// every table and stays in the cache: other ranks read the sums' memory, and take its lines away. Those that
/// find no room there are computed where their sums will lie.
class RowTable {
 public:
  static constexpr std::string_view meter_name = "row table";
  static constexpr std::string_view manifests_name = "row table: manifests";
  static constexpr std::string_view outputs_name = "row table: outputs";
  explicit RowTable(MemoryMeter& meter)
      : rows_(meter, meter_name), manifests_(meter, manifests_name), apart_(meter, outputs_name) {}

  static std::size_t bytes_for(std::size_t num_expected) { return num_expected * sizeof(Row); }

  /// Of manifests that keep() copies in an audited round.
  static std::size_t manifest_bytes_for(std::size_t num_expected) {
    return num_expected * sizeof(PlannedAssignment);
  }

  void release_memory() {
    rows_.release();
    manifests_.release();
    apart_.release();
  }

  /// Begins a round in which slot s gets expected_per_slot[s] rows.
  void reset(std::span<const std::int64_t> expected_per_slot, const RowRules& rules);

  /// Before add, for assignments that lie in memory of another rank's: where audited, a copy of them that
  /// stays what it is until the round ends, to be checked there. Throws Error(verification), naming the
  /// source, where more are kept than all slots expect.
  std::span<const PlannedAssignment> keep(Rank source, std::span<const PlannedAssignment> assignments);

  /// Throws Error(verification), naming the source, when an assignment points outside of slots or inputs, or
  /// is one more than its slot expects, or when a row does not have its checksum.
  void add(const ArrivedRows& arrived);

  /// Compares the rows of what has been added with their checksums, where it has any.
  void check_inputs(const ArrivedRows& arrived) const;

  /// What has been added so far counts as handed out.
  void hand_out();

  // Added since the last hand_out().
  std::size_t num_rows() const { return num_rows_; }
  std::span<const std::uint32_t> slots() const { return slots_in_hand_; }  ///< that have rows, each once
  std::span<const Row> rows(std::size_t slot) const;
  std::span<const ArrivedRows> arrived() const { return arrived_; }

 private:
  /// Where a slot's rows lie in rows_: those not handed out yet from `begin` to `filled`.
  struct SlotRows {
    std::size_t begin;
    std::size_t filled;
    std::size_t end;
  };

  std::byte* place_results(const ArrivedRows& arrived);
  Stores result_stores(const ArrivedRows& arrived) const;

  RowRules rules_;
  GrowingBuffer rows_;
  GrowingBuffer manifests_;
  GrowingBuffer apart_;
  std::size_t num_kept_ = 0;  // in manifests_
  std::size_t num_expected_ = 0;
  std::vector<SlotRows> slots_;
  std::vector<std::uint32_t> slots_in_hand_;
  std::size_t num_rows_ = 0;
  std::vector<ArrivedRows> arrived_;
};

}  // namespace moewe
