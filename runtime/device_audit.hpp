#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "comm/device_peer_memory.hpp"
#include "runtime/device_step.hpp"
#include "runtime/kernels/group_rows.hpp"
#include "runtime/round_audit.hpp"

namespace moewe {

/// The audit of steps on devices: checksums of rows, plans and outputs, which go beside them by a way of
/// their own, and are compared before the rows are computed on and before the outputs are summed. Those of
/// rows and outputs are taken and compared where these lie, by the device; those of plans by the host, which
/// looks at the plans of audited steps. A rank's segment:
///
///   | from rank 0: of its rows, of its plan | from rank 1: ... | of outputs |
class DeviceAudit {
 public:
  /// Flags of the segment.
  enum Flag : std::size_t { rows_sealed, outputs_sealed, num_flags };

  /// Collective. Communicator, device and meter outlive it. Throws a shared Error where ranks exchange
  /// messages, or a rank has no memory.
  DeviceAudit(Communicator& communicator, Device& device, MemoryMeter& meter, const DeviceSizes& sizes);

  /// Of the segment, which is counted as DevicePeerMemory's.
  static std::size_t segment_bytes(const DeviceSizes& sizes, std::size_t num_ranks);

  /// What a step works with, all of it until its end.
  struct Step {
    std::uint64_t generation;
    Queue& queue;
    const DeviceStepMemory& memory;
    const DeviceArrivals& arrivals;
    const std::byte* x;  ///< rows of this rank's tokens
    std::size_t num_tokens;
    const std::byte* outputs;  ///< where those of its assignments come to be, as planned
  };

  // In every step, in this order; each blocks until the device has done what it asked for, but for
  // seal_outputs, which waits for what came before it. Where something is not what was written, or is a plan
  // that nobody can follow, they throw Error(verification), which names it.

  /// Once the queue makes the plan, before its rows are known to others.
  void seal_rows(const Step& step);

  /// Once all ranks' rows are there.
  void check_rows();

  /// Once the queue computes the outputs of what arrived, sorted by slot, into arrivals.audited.
  void seal_outputs();

  /// Once all outputs are there.
  void check_outputs();

 private:
  /// What came from a rank, on the host.
  struct Arrived {
    ArrivedPlan plan{};
    std::vector<PlannedAssignment> assignments;
    std::vector<std::uint64_t> row_checksums;
    std::uint64_t plan_checksum = 0;
  };

  /// Rows on the device, and whose they are.
  struct Rows {
    std::vector<const std::byte*> addresses;
    std::vector<std::uint32_t> tokens;
    std::vector<std::uint32_t> ks;

    void add(const std::byte* row, std::uint32_t token, std::uint32_t k);
    std::size_t size() const { return addresses.size(); }
  };

  std::size_t checksums_from(Rank rank) const;
  std::size_t plan_checksum_from(Rank rank) const;
  std::size_t output_checksums() const;

  void await(Flag flag, const char* what) const;
  void wait();
  void copy(void* to, const void* from, std::size_t bytes);
  template <typename Value>
  void fetch(const Value* from, std::vector<Value>& to, std::size_t count);
  void put(const DeviceAuditLists& lists, const Rows& rows);
  void take_checksums(const DeviceAuditLists& lists, std::size_t first, std::size_t count,
                      Direction direction, Rank source);
  void fetch_plan();
  void seal_plan();
  void fetch_arrived();
  void check_plan(Rank source) const;
  void require_possible(Rank source, std::size_t num_before) const;

  Communicator& communicator_;
  DeviceSizes sizes_;
  RoundAudit audit_;
  std::unique_ptr<DevicePeerMemory> peers_;

  // Of the step that is under way, on the host.
  std::unique_ptr<const Step> step_;
  std::vector<std::uint32_t> first_row_;  // [ranks + 1], of the plan, as is the next
  std::vector<std::uint32_t> first_assignment_;
  std::vector<PlannedAssignment> planned_;
  std::vector<std::byte*> destinations_;  // of checksums of rows, for each rank
  std::vector<std::uint64_t> plan_checksums_;
  std::vector<ArrivedFrom> sources_;
  std::vector<Arrived> arrived_;
  Rows rows_;
  std::vector<std::uint64_t> found_;
  std::vector<std::uint64_t> written_;
};

}  // namespace moewe
