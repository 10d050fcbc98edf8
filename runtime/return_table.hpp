#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "comm/buffer.hpp"
#include "runtime/dispatch_plan.hpp"
#include "runtime/round_audit.hpp"
#include "runtime/row_table.hpp"
#include "runtime/token_range.hpp"

namespace moewe {

/// What comes back for a token.
enum class Combine {
  reproducible,  ///< the output of each assignment: the sum has the same bits wherever they were computed
  fast,          ///< one weighted partial sum per rank, or node, that computed for the token
};

/// Calls visit(assignment, number) for each assignment of one destination with which something comes back:
/// the first of each row's for its partial sum, else every one.
template <typename Visit>
void for_each_returned(std::span<const PlannedAssignment> assignments, Combine combine, Visit&& visit) {
  std::uint32_t last_row = std::numeric_limits<std::uint32_t>::max();
  std::size_t number = 0;
  for (const PlannedAssignment& assignment : assignments) {
    const bool is_new = combine == Combine::reproducible || assignment.row != last_row;
    last_row = assignment.row;
    if (is_new) visit(assignment, number++);
  }
}

/// What came back for some assignments of one destination: one behind the other, an output each, or a partial
/// sum for each row; where audited, their checksums too.
struct ReturnedRows {
  Rank computed_by;
  std::span<const PlannedAssignment> assignments;
  const std::byte* first;
  const std::byte* checksums = nullptr;
};

/// Where audited: takes the checksums of the outputs, or partial sums, of what has arrived, and writes them
/// behind these.
void seal_outputs(const RoundAudit& audit, const ArrivedRows& arrived, Combine combine,
                  std::size_t output_bytes);

/// Where what came back for each (token, k) of this rank lies: the expert's output; or, for the first of a
/// row's k, the row's partial sum. Null for the others and for what the plan has not sent out.
class ReturnTable {
 public:
  static constexpr std::string_view meter_name = "return table";
  static constexpr std::string_view checksums_name = "return table: checksums";
  explicit ReturnTable(MemoryMeter& meter) : outputs_(meter, meter_name), checksums_(meter, checksums_name) {}

  static std::size_t bytes_for(std::size_t num_tokens, std::size_t top_k) {
    return num_tokens * top_k * sizeof(const std::byte*);
  }

  /// In an audited round.
  static std::size_t checksum_bytes_for(std::size_t num_tokens, std::size_t top_k) {
    return num_tokens * top_k * sizeof(Checked);
  }

  void release_memory() {
    outputs_.release();
    checksums_.release();
  }

  void reset(const DispatchPlan& plan, Combine combine, const RoundAudit& audit = {});

  /// Throws Error(verification) where an output does not have its checksum.
  void add(const ReturnedRows& rows, std::size_t output_bytes);

  /// The sum of all that one node computed for a token: of so many assignments, the first of them the k-th.
  /// `checksum` is where its checksum lies, if audited. Throws as add does.
  void add_sum(const RowLabel& label, std::span<const std::byte> sum, const std::byte* checksum,
               std::size_t num_assignments);

  /// Where audited: compares what came back for these tokens with its checksums once more, after it was used.
  void check_again(TokenRange tokens, std::size_t output_bytes) const;

  Combine combine() const { return combine_; }
  std::size_t num_returned() const { return num_returned_; }  ///< assignments
  std::size_t num_expected() const { return num_expected_; }

  const std::byte* output(std::size_t token, std::size_t k) const { return table_[token * top_k_ + k]; }

 private:
  void put(const RowLabel& label, std::span<const std::byte> output, const std::byte* checksum);

  /// An output's checksum.
  struct Checked {
    std::uint64_t checksum;
    Rank computed_by;
  };

  Combine combine_ = Combine::reproducible;
  std::size_t top_k_ = 0;
  std::size_t num_expected_ = 0;
  std::size_t num_returned_ = 0;
  RoundAudit audit_;
  GrowingBuffer outputs_;
  GrowingBuffer checksums_;
  std::span<const std::byte*> table_;
  std::span<Checked> checked_;  // like the table, where audited
};

}  // namespace moewe
