#include "runtime/row_table.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {

void RowTable::reset(std::span<const std::int64_t> expected_per_slot, const RowRules& rules) {
  rules_ = rules;
  slots_.resize(expected_per_slot.size());
  num_expected_ = 0;
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    const std::size_t begin = num_expected_;
    num_expected_ += static_cast<std::size_t>(expected_per_slot[slot]);
    slots_[slot] = {begin, begin, num_expected_};
  }
  rows_.resize<Row>(num_expected_);
  if (rules.audit.is_on()) manifests_.resize<PlannedAssignment>(num_expected_);
  apart_.resize<std::byte>(rules.num_apart * rules.row_bytes);
  num_kept_ = 0;
  slots_in_hand_.clear();
  num_rows_ = 0;
  arrived_.clear();
}

std::span<const PlannedAssignment> RowTable::keep(Rank source,
                                                  std::span<const PlannedAssignment> assignments) {
  if (!rules_.audit.is_on()) return assignments;
  if (assignments.size() > num_expected_ - num_kept_) {
    throw Error(ErrorKind::verification,
                fmt::format("rank {} announces {} assignments where {} of {} are still expected",
                            number(source), assignments.size(), num_expected_ - num_kept_, num_expected_));
  }
  const auto kept = manifests_.as<PlannedAssignment>(num_expected_).subspan(num_kept_, assignments.size());
  std::copy(assignments.begin(), assignments.end(), kept.begin());
  num_kept_ += kept.size();
  return kept;
}

void RowTable::add(const ArrivedRows& arrived) {
  const std::span<Row> rows = rows_.as<Row>(num_expected_);
  std::byte* const results = place_results(arrived);
  std::byte* output = results;
  const Stores stores = result_stores(arrived);
  for (const PlannedAssignment assignment :
       arrived.assignments) {  // a copy: the peer's memory is only read once
    const std::size_t input = assignment.*arrived.input_index;
    if (assignment.slot >= slots_.size() || input >= arrived.num_inputs) {
      throw Error(
          ErrorKind::verification,
          fmt::format("rank {} sent an assignment for slot {} of {}, with row {} of {}",
                      number(arrived.source), assignment.slot, slots_.size(), input, arrived.num_inputs));
    }
    SlotRows& slot = slots_[assignment.slot];
    if (slot.filled == slot.end) {
      throw Error(ErrorKind::verification, fmt::format("rank {} sent slot {} more rows than were agreed on",
                                                       number(arrived.source), assignment.slot));
    }
    if (slot.filled == slot.begin) slots_in_hand_.push_back(assignment.slot);
    rows[slot.filled++] = {arrived.inputs + input * rules_.row_bytes,
                           output,
                           arrived.source,
                           assignment.token,
                           assignment.k,
                           stores};
    output += rules_.row_bytes;
  }
  check_inputs(arrived);
  num_rows_ += arrived.assignments.size();
  arrived_.push_back(arrived);
  arrived_.back().results = results;
}

std::byte* RowTable::place_results(const ArrivedRows& arrived) {
  if (num_rows_ + arrived.assignments.size() > rules_.num_apart) return arrived.outputs;
  return apart_.as<std::byte>(rules_.num_apart * rules_.row_bytes).data() + num_rows_ * rules_.row_bytes;
}

/// What is summed here is best kept in the cache.
Stores RowTable::result_stores(const ArrivedRows& arrived) const {
  return rules_.are_summed ? Stores::cached : arrived.output_stores;
}

void RowTable::check_inputs(const ArrivedRows& arrived) const {
  if (arrived.input_checksums == nullptr) return;
  std::size_t last = arrived.num_inputs;  // assignments of one row follow one another
  for (const PlannedAssignment& assignment : arrived.assignments) {
    const std::size_t input = assignment.*arrived.input_index;
    if (input == last) continue;
    last = input;
    rules_.audit.check(
        {Direction::dispatch, arrived.source, rules_.audit.self(), assignment.token, assignment.k},
        {arrived.inputs + input * rules_.row_bytes, rules_.row_bytes},
        get_checksum(arrived.input_checksums, input));
  }
}

void RowTable::hand_out() {
  for (const std::uint32_t slot : slots_in_hand_) slots_[slot].begin = slots_[slot].filled;
  slots_in_hand_.clear();
  num_rows_ = 0;
  arrived_.clear();
}

std::span<const Row> RowTable::rows(std::size_t slot) const {
  const SlotRows& of_slot = slots_[slot];
  return rows_.as<Row>(num_expected_).subspan(of_slot.begin, of_slot.filled - of_slot.begin);
}

}  // namespace moewe
