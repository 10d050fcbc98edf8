#include "runtime/row_table.hpp"

#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {

void RowTable::reset(std::size_t num_slots, std::size_t row_bytes, std::size_t output_bytes) {
  row_bytes_ = row_bytes;
  output_bytes_ = output_bytes;
  rows_.resize(num_slots);
  for (auto& rows : rows_) rows.clear();
  num_rows_ = 0;
}

void RowTable::add(const ArrivedRows& arrived) {
  std::byte* output = arrived.outputs;
  for (const PlannedAssignment assignment :
       arrived.assignments) {  // a copy: the peer's memory is only read once
    const std::size_t input = assignment.*arrived.input_index;
    if (assignment.slot >= rows_.size() || input >= arrived.num_inputs) {
      throw Error(
          ErrorKind::verification,
          fmt::format("rank {} sent an assignment for slot {} of {}, with row {} of {}",
                      number(arrived.source), assignment.slot, rows_.size(), input, arrived.num_inputs));
    }
    rows_[assignment.slot].push_back(
        {arrived.inputs + input * row_bytes_, output, arrived.source, assignment.token, assignment.k});
    output += output_bytes_;
  }
  num_rows_ += arrived.assignments.size();
}

}  // namespace moewe
