#include "runtime/device_audit.hpp"

#include <fmt/format.h>
#include <numeric>
#include <utility>

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "runtime/kernels/checksum_rows.hpp"
#include "runtime/kernels/plan_piece.hpp"
#include "runtime/kernels/push_rows.hpp"
#include "runtime/plan_check.hpp"

namespace moewe {
namespace {

constexpr std::size_t checksum_bytes = sizeof(std::uint64_t);

std::uint32_t narrow(std::size_t count) { return static_cast<std::uint32_t>(count); }

PartLabel plan_label(Rank from, Rank to) { return {"the plan", from, to}; }

}  // namespace

void DeviceAudit::Rows::add(const std::byte* row, std::uint32_t token, std::uint32_t k) {
  addresses.push_back(row);
  tokens.push_back(token);
  ks.push_back(k);
}

DeviceAudit::DeviceAudit(Communicator& communicator, Device& device, MemoryMeter& meter,
                         const DeviceSizes& sizes)
    : communicator_(communicator), sizes_(sizes), arrived_(communicator.size()) {
  together(communicator, [&] {
    if (sizes.num_by_message > 0)
      throw InvalidInput("layers on devices are audited so far where all ranks push their rows");
  });
  DevicePeerMemoryOffer offer = make_device_peer_memory(communicator, device, meter, num_flags,
                                                        segment_bytes(sizes, communicator.size()));
  if (!offer.memory) {
    throw Error(ErrorKind::communication,
                fmt::format("ranks cannot push checksums into one another's device memory: {}",
                            offer.reason_for_none),
                ErrorScope::shared);
  }
  peers_ = std::move(offer.memory);
  for (std::size_t rank = 0; rank < communicator.size(); ++rank)
    destinations_.push_back(peers_->writable(rank_at(rank)) + checksums_from(communicator.rank()));
}

std::size_t DeviceAudit::segment_bytes(const DeviceSizes& sizes, std::size_t num_ranks) {
  return (num_ranks * (sizes.max_tokens + 1) + sizes.max_assignments()) * checksum_bytes;
}

std::size_t DeviceAudit::checksums_from(Rank rank) const {
  return index(rank) * (sizes_.max_tokens + 1) * checksum_bytes;
}

std::size_t DeviceAudit::plan_checksum_from(Rank rank) const {
  return checksums_from(rank) + sizes_.max_tokens * checksum_bytes;
}

std::size_t DeviceAudit::output_checksums() const { return checksums_from(rank_at(communicator_.size())); }

void DeviceAudit::await(Flag flag, const char* what) const {
  for (std::size_t rank = 0; rank < communicator_.size(); ++rank) {
    const auto is_there = [&] { return peers_->published(rank_at(rank), flag) >= step_->generation; };
    communicator_.waiter().until(is_there, {what, rank_at(rank)});
  }
}

void DeviceAudit::wait() {
  communicator_.waiter().until([&] { return step_->queue.is_idle(); }, {"the device"});
}

/// To or from memory of the host that is not pinned: that may block, without a deadline, for what the queue
/// still holds, so there is nothing. Done once the device has been waited for again.
void DeviceAudit::copy(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  wait();
  step_->queue.copy(to, from, bytes);
}

template <typename Value>
void DeviceAudit::fetch(const Value* from, std::vector<Value>& to, std::size_t count) {
  to.resize(count);
  copy(to.data(), from, count * sizeof(Value));
}

void DeviceAudit::put(const DeviceAuditLists& lists, const Rows& rows) {
  copy(lists.rows, rows.addresses.data(), rows.size() * sizeof(const std::byte*));
  copy(lists.tokens, rows.tokens.data(), rows.size() * sizeof(std::uint32_t));
  copy(lists.ks, rows.ks.data(), rows.size() * sizeof(std::uint32_t));
}

void DeviceAudit::take_checksums(const DeviceAuditLists& lists, std::size_t first, std::size_t count,
                                 Direction direction, Rank source) {
  const bool is_back = direction == Direction::back;
  step_->queue.run(checksum_rows,
                   {lists.rows + first, lists.tokens + first, is_back ? lists.ks + first : nullptr,
                    lists.checksums + first, sizes_.row_bytes(), step_->generation,
                    static_cast<std::uint32_t>(direction), narrow(index(source)), narrow(count)});
}

/// The host's copy is of what the device has, so that what is said to others is the same.
void DeviceAudit::fetch_plan() {
  const DeviceStepMemory& memory = step_->memory;
  fetch(memory.first_row, first_row_, communicator_.size() + 1);
  fetch(memory.first_assignment, first_assignment_, communicator_.size() + 1);
  fetch(memory.planned, planned_, step_->num_tokens * sizes_.spec.router.top_k);
  wait();
  planned_.resize(first_assignment_.back());
}

void DeviceAudit::seal_plan() {
  const PushPlan plan{planned_.data(), first_row_.data(), first_assignment_.data(), nullptr, 0, 0};
  const Rank self = communicator_.rank();
  plan_checksums_.clear();
  for (std::size_t rank = 0; rank < communicator_.size(); ++rank) {
    const ArrivedPlan part = part_of(plan, narrow(rank));
    const auto assignments = std::span(planned_).subspan(part.first_output, part.num_assignments);
    plan_checksums_.push_back(
        audit_.checksum(plan_label(self, rank_at(rank)), {bytes_of_value(part), std::as_bytes(assignments)}));
  }
  for (std::size_t rank = 0; rank < communicator_.size(); ++rank)
    copy(peers_->writable(rank_at(rank)) + plan_checksum_from(self), &plan_checksums_[rank], checksum_bytes);
}

void DeviceAudit::seal_rows(const Step& step) {
  step_ = std::make_unique<const Step>(step);
  audit_ = RoundAudit(step.generation, communicator_.rank());
  fetch_plan();
  rows_ = {};
  for (std::size_t token = 0; token < step.num_tokens; ++token)
    rows_.add(step.x + token * sizes_.row_bytes(), narrow(token), 0);
  const DeviceAuditLists& lists = step.memory.audit;
  put(lists, rows_);
  take_checksums(lists, 0, rows_.size(), Direction::dispatch, communicator_.rank());
  copy(step.memory.checksum_destinations, destinations_.data(), destinations_.size() * sizeof(std::byte*));
  step.queue.run(push_rows, {reinterpret_cast<const std::byte*>(lists.checksums), step.memory.tokens,
                             step.memory.first_row, step.memory.checksum_destinations, checksum_bytes,
                             narrow(communicator_.size()), narrow(planned_.size())});
  seal_plan();
  peers_->publish(step.queue, rows_sealed, step.generation);
  wait();
}

void DeviceAudit::fetch_arrived() {
  const std::size_t num_ranks = communicator_.size();
  fetch<ArrivedFrom>(step_->memory.sources, sources_, num_ranks);
  wait();
  for (std::size_t s = 0; s < num_ranks; ++s) copy(&arrived_[s].plan, sources_[s].plan, sizeof(ArrivedPlan));
  wait();
  for (std::size_t s = 0; s < num_ranks; ++s) {
    Arrived& arrived = arrived_[s];
    const ArrivedPlan& plan = arrived.plan;
    const bool can_be = plan.num_assignments <= sources_[s].room && plan.num_rows <= sizes_.max_tokens;
    fetch(reinterpret_cast<const PlannedAssignment*>(sources_[s].plan + 1), arrived.assignments,
          can_be ? plan.num_assignments : 0);
    const std::byte* const own = peers_->own();
    fetch(reinterpret_cast<const std::uint64_t*>(own + checksums_from(rank_at(s))), arrived.row_checksums,
          can_be ? plan.num_rows : 0);
    copy(&arrived.plan_checksum, own + plan_checksum_from(rank_at(s)), checksum_bytes);
  }
  wait();
}

void DeviceAudit::check_plan(Rank source) const {
  const Arrived& arrived = arrived_[index(source)];
  audit_.check(plan_label(source, communicator_.rank()),
               {bytes_of_value(arrived.plan), std::as_bytes(std::span(arrived.assignments))},
               arrived.plan_checksum);
}

/// With so many assignments of the sources before.
void DeviceAudit::require_possible(Rank source, std::size_t num_before) const {
  const Arrived& arrived = arrived_[index(source)];
  const PlanBounds bounds{step_->arrivals.room - num_before, sizes_.max_assignments(), sizes_.num_slots};
  const std::string reason = reason_against_plan(arrived.plan, arrived.assignments, bounds);
  if (reason.empty()) return;
  throw Error(ErrorKind::verification,
              fmt::format("audit of round {}: the plan from rank {} to rank {} cannot be followed: {}",
                          step_->generation, number(source), number(communicator_.rank()), reason));
}

void DeviceAudit::check_rows() {
  await(rows_sealed, "checksums of rows");
  fetch_arrived();
  rows_ = {};
  std::size_t num_assignments = 0;
  for (std::size_t s = 0; s < arrived_.size(); ++s) {
    check_plan(rank_at(s));
    require_possible(rank_at(s), num_assignments);
    num_assignments += arrived_[s].assignments.size();
    const std::size_t first = rows_.size();
    for (const PlannedAssignment& assignment : arrived_[s].assignments) {
      if (assignment.row == rows_.size() - first)
        rows_.add(sources_[s].rows + assignment.row * sizes_.row_bytes(), assignment.token, assignment.k);
    }
  }
  const DeviceAuditLists& lists = step_->arrivals.audit;
  put(lists, rows_);
  std::size_t first = 0;
  for (std::size_t s = 0; s < arrived_.size(); first += arrived_[s++].plan.num_rows)
    take_checksums(lists, first, arrived_[s].plan.num_rows, Direction::dispatch, rank_at(s));
  fetch<std::uint64_t>(lists.checksums, found_, rows_.size());
  wait();
  first = 0;
  for (std::size_t s = 0; s < arrived_.size(); first += arrived_[s++].plan.num_rows) {
    for (std::size_t row = 0; row < arrived_[s].plan.num_rows; ++row) {
      const std::size_t i = first + row;
      audit_.compare({Direction::dispatch, rank_at(s), communicator_.rank(), rows_.tokens[i], rows_.ks[i]},
                     found_[i], arrived_[s].row_checksums[row]);
    }
  }
}

/// Outputs are sorted as group_rows sorts them.
void DeviceAudit::seal_outputs() {
  std::vector<std::size_t> next(sizes_.num_slots + 1, 0);
  for (const Arrived& arrived : arrived_) {
    for (const PlannedAssignment& assignment : arrived.assignments) ++next[assignment.slot + 1];
  }
  std::partial_sum(next.begin(), next.end(), next.begin());
  rows_ = {};
  for (const Arrived& arrived : arrived_) {
    for (const PlannedAssignment& assignment : arrived.assignments)
      rows_.add(step_->arrivals.audited + next[assignment.slot]++ * sizes_.row_bytes(), assignment.token,
                assignment.k);
  }
  const DeviceAuditLists& lists = step_->arrivals.audit;
  put(lists, rows_);
  std::size_t first = 0;
  for (std::size_t s = 0; s < arrived_.size(); first += arrived_[s++].assignments.size()) {
    const std::size_t count = arrived_[s].assignments.size();
    if (count == 0) continue;
    take_checksums(lists, first, count, Direction::back, rank_at(s));
    step_->queue.copy(
        peers_->writable(rank_at(s)) + output_checksums() + arrived_[s].plan.first_output * checksum_bytes,
        lists.checksums + first, count * checksum_bytes);
  }
  peers_->publish(step_->queue, outputs_sealed, step_->generation);
}

void DeviceAudit::check_outputs() {
  await(outputs_sealed, "checksums of outputs");
  wait();  // what seal_outputs reads is overwritten now
  rows_ = {};
  for (const PlannedAssignment& assignment : planned_)
    rows_.add(step_->outputs + rows_.size() * sizes_.row_bytes(), assignment.token, assignment.k);
  const Rank self = communicator_.rank();
  const DeviceAuditLists& lists = step_->memory.audit;
  put(lists, rows_);
  take_checksums(lists, 0, rows_.size(), Direction::back, self);
  fetch(reinterpret_cast<const std::uint64_t*>(peers_->own() + output_checksums()), written_, rows_.size());
  fetch<std::uint64_t>(lists.checksums, found_, rows_.size());
  wait();
  for (std::size_t rank = 0; rank < communicator_.size(); ++rank) {
    for (std::size_t i = first_assignment_[rank]; i < first_assignment_[rank + 1]; ++i)
      audit_.compare({Direction::back, self, rank_at(rank), rows_.tokens[i], rows_.ks[i]}, found_[i],
                     written_[i]);
  }
}

}  // namespace moewe
