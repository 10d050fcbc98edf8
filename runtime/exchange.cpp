#include "runtime/exchange.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "comm/error.hpp"
#include "runtime/parallel.hpp"

namespace moewe {

void Exchange::plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const {
  memory.add(RowTable::meter_name, RowTable::bytes_for(sizes.num_expected));
  memory.add(ReturnTable::meter_name, ReturnTable::bytes_for(sizes.num_tokens, sizes.top_k));
  for (const auto& path : paths_) path->plan_memory(sizes, memory);
}

void Exchange::release_memory() {
  rows_.release_memory();
  returned_.release_memory();
  for (const auto& path : paths_) path->release_memory();
}

void Exchange::dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) {
  shape_ = shape;
  num_arrived_ = 0;
  rows_.reset(shape.expected_per_slot, shape.row_bytes(), shape.row_bytes());
  returned_.reset(plan, shape.combine);
  for (const auto& path : paths_) path->dispatch(shape, plan, x);
}

const RowTable* Exchange::next() {
  if (num_arrived_ == shape_.num_expected) return nullptr;
  rows_.hand_out();
  waiter_.until(
      [&] {
        for (const auto& path : paths_) path->collect(rows_);
        return rows_.num_rows() > 0;
      },
      {"rows for this rank's experts"});
  num_arrived_ += rows_.num_rows();
  if (num_arrived_ > shape_.num_expected) {
    throw Error(ErrorKind::verification, fmt::format("{} assignments arrived in round {}, which expects {}",
                                                     num_arrived_, shape_.generation, shape_.num_expected));
  }
  return &rows_;
}

void Exchange::give_back(std::size_t num_threads) {
  if (shape_.combine == Combine::fast) {
    parallel_for(num_threads, rows_.arrived().size(),
                 [&](std::size_t i, std::size_t) { sum_rows(rows_.arrived()[i], shape_.format); });
  }
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
      {"messages of this round to be taken"});
}

}  // namespace moewe
