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
  num_tokens_ = plan.num_tokens();
  num_complete_ = 0;
  num_taken_ = 0;
  num_freed_ = 0;
  rows_.reset(shape.expected_per_slot, shape.row_bytes(), shape.flow.output_stores);
  returned_.reset(plan, shape.combine);
  for (const auto& path : paths_) path->dispatch(shape, plan, x);
}

const RowTable* Exchange::next() {
  if (num_arrived_ == shape_.num_expected) return nullptr;
  free_taken();
  rows_.hand_out();
  waiter_.until(
      [&] {
        for (const auto& path : paths_) path->collect(rows_);
        return rows_.num_rows() > 0 || count_complete() > num_taken_;
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

std::size_t Exchange::count_complete() {
  std::size_t complete = num_tokens_;
  for (const auto& path : paths_) complete = std::min(complete, path->collect_returned(returned_));
  return num_complete_ = complete;
}

void Exchange::free_taken() {
  if (num_freed_ == num_taken_) return;
  num_freed_ = num_taken_;
  for (const auto& path : paths_) path->free_tokens(num_freed_);
}

TokenRange Exchange::take_returned() {
  const TokenRange tokens{num_taken_, count_complete() - num_taken_};
  num_taken_ = tokens.end();
  return tokens;
}

TokenRange Exchange::await_returned() {
  free_taken();
  waiter_.until([&] { return num_taken_ == num_tokens_ || count_complete() > num_taken_; },
                {"outputs of this rank's tokens"});
  return take_returned();
}

void Exchange::finish() {
  waiter_.until(
      [&] { return std::all_of(paths_.begin(), paths_.end(), [](auto& path) { return path->is_idle(); }); },
      {"messages of this round to be taken"});
}

}  // namespace moewe
