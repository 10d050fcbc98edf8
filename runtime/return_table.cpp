#include "runtime/return_table.hpp"

namespace moewe {

void seal_outputs(const RoundAudit& audit, const ArrivedRows& arrived, Combine combine,
                  std::size_t output_bytes) {
  std::size_t num_outputs = 0;
  for_each_returned(arrived.assignments, combine,
                    [&](const PlannedAssignment&, std::size_t) { ++num_outputs; });
  std::byte* const checksums = arrived.outputs + num_outputs * output_bytes;
  for_each_returned(arrived.assignments, combine, [&](const PlannedAssignment& assignment, std::size_t i) {
    const RowLabel label{Direction::back, arrived.source, audit.self(), assignment.token, assignment.k};
    put_checksum(checksums, i, audit.checksum(label, {arrived.outputs + i * output_bytes, output_bytes}));
  });
}

void ReturnTable::reset(const DispatchPlan& plan, Combine combine, const RoundAudit& audit) {
  combine_ = combine;
  audit_ = audit;
  top_k_ = plan.top_k();
  num_expected_ = plan.num_assignments();
  num_returned_ = 0;
  table_ = outputs_.resize<const std::byte*>(plan.num_tokens() * top_k_);
  std::fill(table_.begin(), table_.end(), nullptr);
  if (audit.is_on()) checked_ = checksums_.resize<Checked>(table_.size());
}

void ReturnTable::put(const RowLabel& label, std::span<const std::byte> output, const std::byte* checksum) {
  const std::size_t place = label.token * top_k_ + label.k;
  table_[place] = output.data();
  if (!audit_.is_on()) return;
  checked_[place] = {get_checksum(checksum, 0), label.computed_by};
  audit_.check(label, output, checked_[place].checksum);
}

void ReturnTable::add(const ReturnedRows& rows, std::size_t output_bytes) {
  for_each_returned(rows.assignments, combine_, [&](const PlannedAssignment& assignment, std::size_t i) {
    put({Direction::back, audit_.self(), rows.computed_by, assignment.token, assignment.k},
        {rows.first + i * output_bytes, output_bytes}, rows.checksums + i * audit_.checksum_bytes());
  });
  num_returned_ += rows.assignments.size();
}

void ReturnTable::add_sum(const RowLabel& label, std::span<const std::byte> sum, const std::byte* checksum,
                          std::size_t num_assignments) {
  put(label, sum, checksum);
  num_returned_ += num_assignments;
}

void ReturnTable::check_again(TokenRange tokens, std::size_t output_bytes) const {
  for (std::size_t token = tokens.first; token < tokens.end(); ++token) {
    for (std::size_t k = 0; k < top_k_; ++k) {
      if (output(token, k) == nullptr) continue;
      const Checked& checked = checked_[token * top_k_ + k];
      audit_.check({Direction::back, audit_.self(), checked.computed_by, static_cast<std::uint32_t>(token),
                    static_cast<std::uint32_t>(k)},
                   {output(token, k), output_bytes}, checked.checksum);
    }
  }
}

}  // namespace moewe
