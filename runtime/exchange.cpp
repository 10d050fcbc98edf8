#include "runtime/exchange.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "comm/error.hpp"
#include "runtime/parallel.hpp"

namespace moewe {

Exchange::Exchange(std::vector<std::unique_ptr<Path>> paths, const Waiter& waiter, MemoryMeter& meter)
    : paths_(std::move(paths)), waiter_(waiter), rows_(meter), returned_(meter) {
  for (const auto& path : paths_) {
    if (path->needs_progress()) progressing_.push_back(path.get());
  }
}

void Exchange::plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const {
  memory.add(RowTable::meter_name, RowTable::bytes_for(sizes.num_expected));
  memory.add(RowTable::outputs_name, sizes.outputs_apart() * sizes.row_bytes);
  memory.add(ReturnTable::meter_name, ReturnTable::bytes_for(sizes.num_tokens, sizes.top_k));
  if (sizes.is_audited) {
    memory.add(RowTable::manifests_name, RowTable::manifest_bytes_for(sizes.num_expected));
    memory.add(ReturnTable::checksums_name, ReturnTable::checksum_bytes_for(sizes.num_tokens, sizes.top_k));
  }
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
  is_table_begun_ = false;
  num_tokens_ = plan.num_tokens();
  num_complete_ = 0;
  num_taken_ = 0;
  num_freed_ = 0;
  rows_.reset(shape.expected_per_slot,
              {.row_bytes = shape.row_bytes(),
               .are_summed = shape.combine == Combine::fast,
               .num_apart = outputs_apart(shape.combine, shape.flow, plan.top_k(), shape.num_expected),
               .audit = shape.audit});
  returned_.reset(plan, shape.combine, shape.audit);
  for (const auto& path : paths_) path->dispatch(shape, plan, x);
  is_under_way_ = true;
}

void Exchange::progress() {
  if (!is_under_way_) return;
  is_under_way_ = false;  // and so it stays where a path throws
  for (Path* path : progressing_) path->progress();
  is_under_way_ = true;
}

template <typename Ready>
void Exchange::wait(Ready&& ready, WaitReason reason, std::optional<Rank> (Path::*awaited)() const) const {
  reason.missing = [this] { return missing(); };
  waiter_.until(ready, reason, [&] {
    reason.peer.reset();
    for (auto path = paths_.begin(); path != paths_.end() && !reason.peer; ++path) {
      reason.peer = (**path.*awaited)();
    }
  });
}

std::string Exchange::missing() const {
  MissingParts parts;
  const std::size_t num_here = num_arrived_ + (is_table_begun_ ? rows_.num_rows() : 0);
  for (const auto& path : paths_) path->list_missing(shape_.num_expected - num_here, parts);
  return parts.is_empty() ? "" : fmt::format("round {} lacks {}", shape_.generation, parts.text());
}

const RowTable* Exchange::next() {
  if (num_arrived_ == shape_.num_expected) return nullptr;
  begin_table();
  wait([&] { return is_there_to_do(); }, {"rows for this rank's experts"}, &Path::awaits_rows_of);
  is_table_begun_ = false;
  num_arrived_ += rows_.num_rows();
  if (num_arrived_ > shape_.num_expected) {
    throw Error(ErrorKind::verification, fmt::format("{} assignments arrived in round {}, which expects {}",
                                                     num_arrived_, shape_.generation, shape_.num_expected));
  }
  return &rows_;
}

bool Exchange::has_rows() {
  if (num_arrived_ == shape_.num_expected) return true;
  begin_table();
  for (const auto& path : paths_) path->collect(rows_);
  return rows_.num_rows() > 0;
}

void Exchange::begin_table() {
  if (is_table_begun_) return;
  is_table_begun_ = true;
  free_taken();
  rows_.hand_out();
}

bool Exchange::is_there_to_do() {
  for (const auto& path : paths_) path->collect(rows_);
  const bool waits_for_all = !shape_.overlap && shape_.flow.chunk_tokens == 0;
  if (waits_for_all) return num_arrived_ + rows_.num_rows() >= shape_.num_expected;
  return rows_.num_rows() > 0 || count_complete() > num_taken_;
}

void Exchange::give_back(std::size_t num_threads) {
  if (shape_.combine == Combine::fast || shape_.audit.is_on()) {
    parallel_for(num_threads, rows_.arrived().size(),
                 [&](std::size_t i, std::size_t) { finish_outputs(rows_.arrived()[i]); });
  }
  for (const auto& path : paths_) path->give_back();
}

/// Rows may have changed while they were computed on.
void Exchange::finish_outputs(const ArrivedRows& arrived) const {
  if (shape_.audit.is_on()) rows_.check_inputs(arrived);
  if (shape_.combine == Combine::fast) sum_rows(arrived, shape_.format);
  if (shape_.audit.is_on()) seal_outputs(shape_.audit, arrived, shape_.combine, shape_.row_bytes());
}

std::size_t Exchange::count_complete() {
  std::size_t complete = num_tokens_;
  for (const auto& path : paths_) complete = std::min(complete, path->collect_returned(returned_));
  return num_complete_ = complete;
}

void Exchange::free_taken() {
  if (num_freed_ == num_taken_) return;
  if (shape_.audit.is_on()) returned_.check_again({num_freed_, num_taken_ - num_freed_}, shape_.row_bytes());
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
  wait([&] { return num_taken_ == num_tokens_ || count_complete() > num_taken_; },
       {"outputs of this rank's tokens"}, &Path::awaits_outputs_of);
  return take_returned();
}

void Exchange::finish() {
  wait([&] { return std::all_of(paths_.begin(), paths_.end(), [](auto& path) { return path->is_idle(); }); },
       {"messages of this round to be taken", std::nullopt, Awaited::taking}, &Path::awaits_taking_by);
  if (shape_.audit.is_on()) {
    for (const auto& path : paths_) path->check_canaries();
  }
  is_under_way_ = false;
}

}  // namespace moewe
