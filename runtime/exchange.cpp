#include "runtime/exchange.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {

void Exchange::dispatch(const StepShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) {
  shape_ = shape;
  num_arrived_ = 0;
  returned_.reset(plan);
  for (const auto& path : paths_) path->dispatch(shape, plan, x);
}

const RowTable* Exchange::next() {
  if (num_arrived_ == shape_.num_expected) return nullptr;
  rows_.reset(shape_.num_slots, shape_.row_bytes, shape_.output_bytes);
  waiter_.until(
      [&] {
        for (const auto& path : paths_) path->collect(rows_);
        return rows_.num_rows() > 0;
      },
      {"rows for this rank's experts"});
  num_arrived_ += rows_.num_rows();
  if (num_arrived_ > shape_.num_expected) {
    throw Error(ErrorKind::verification, fmt::format("{} assignments arrived in step {}, which expects {}",
                                                     num_arrived_, shape_.generation, shape_.num_expected));
  }
  return &rows_;
}

void Exchange::give_back() {
  for (const auto& path : paths_) path->give_back();
}

const ReturnTable& Exchange::returned() {
  waiter_.until(
      [&] {
        for (const auto& path : paths_) path->collect_returned(returned_);
        return returned_.num_returned() == returned_.num_expected();
      },
      {"outputs of this rank's tokens"});
  return returned_;
}

void Exchange::finish() {
  waiter_.until(
      [&] { return std::all_of(paths_.begin(), paths_.end(), [](auto& path) { return path->is_idle(); }); },
      {"messages of this step to be taken"});
}

}  // namespace moewe
