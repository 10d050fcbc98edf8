#include <algorithm>
#include <fmt/format.h>
#include <numeric>

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "runtime/device_audit.hpp"
#include "runtime/device_exchange.hpp"
#include "runtime/device_layer.hpp"
#include "runtime/device_mlp.hpp"
#include "runtime/expert_matmuls.hpp"
#include "runtime/kernels/arrange_rows.hpp"
#include "runtime/kernels/arrange_sources.hpp"
#include "runtime/kernels/group_rows.hpp"
#include "runtime/kernels/push_sums.hpp"

// What a step computes for the rows that arrived, and for the shared expert.

namespace moewe {
namespace {

std::uint32_t narrow(std::size_t count) { return static_cast<std::uint32_t>(count); }

}  // namespace

void DeviceLayer::start_shared_expert(const Tokens& tokens) {
  if (!spec_.has_shared_expert()) return;
  lane_.fork();
  const std::size_t hidden = spec_.expert.hidden;
  run_mlp(lane_.side_queue(), {spec_.shared_expert(),
                               weights_->shared_expert(),
                               {nullptr, tokens.x, lane_.sizes().row_bytes()},
                               {nullptr, reinterpret_cast<std::byte*>(tokens.y), hidden * sizeof(float)},
                               lane_.memory().shared_hidden,
                               options_.dtype,
                               Dtype::f32,
                               1,
                               narrow(tokens.count),
                               nullptr,
                               nullptr});
}

void DeviceLayer::group() {
  if (DeviceAudit* const audit = lane_.audit()) audit->check_rows();
  if (arrangement_.order == RowOrder::by_source) return;
  const DeviceStepMemory& memory = lane_.memory();
  const DeviceArrivals& arrivals = lane_.arrivals();
  Queue& queue = lane_.queue();
  const std::uint32_t num_slots = narrow(promised_.size()), most = narrow(num_promised_);
  if (arrivals.addresses != nullptr)
    queue.fill(arrivals.addresses, 0, num_promised_ * sizeof *arrivals.addresses);
  queue.run(group_rows, {memory.sources, lane_.sizes().row_bytes(), arrivals.inputs, arrivals.outputs,
                         memory.slot_first_row, narrow(engine_.communicator().size()), num_slots, most,
                         arrivals.results, arrivals.addresses});
}

/// Outputs that were written where they are wanted are there already.
void DeviceLayer::give_back() {
  if (options_.combine == Combine::fast && arrangement_.order == RowOrder::by_slot) {
    const std::uint32_t most = narrow(num_promised_);
    lane_.queue().run(
        push_sums, {lane_.memory().sources, lane_.arrivals().addresses, narrow(engine_.communicator().size()),
                    narrow(spec_.expert.hidden), most, most, options_.dtype});
  }
  lane_.exchange().return_outputs(generation_);
}

void DeviceLayer::run_own_experts() {
  const DeviceStepMemory& memory = lane_.memory();
  const DeviceArrivals& arrivals = lane_.arrivals();
  Queue& queue = lane_.queue();
  const std::uint32_t num_slots = narrow(promised_.size()), most = narrow(num_promised_);
  report_.are_matmuls_grouped = lane_.grouped() != nullptr && is_worth_grouping(promised_);
  if (report_.are_matmuls_grouped) {
    return lane_.grouped()->run(
        queue, *weights_,
        {arrivals.inputs, memory.slot_first_row, promised_, arrivals, memory.first_place, memory.computed});
  }
  queue.fill(memory.computed, 0, num_slots * sizeof *memory.computed);
  const RowPlaces<std::byte> wanted{arrivals.outputs, nullptr, 0};
  const RowPlaces<std::byte> here{nullptr, arrivals.audited, lane_.sizes().row_bytes()};
  const bool is_audited = lane_.audit() != nullptr;
  run_mlp(queue, {spec_.expert,
                  weights_->experts(),
                  {arrivals.inputs, nullptr, 0},
                  is_audited ? here : wanted,
                  arrivals.hidden,
                  options_.dtype,
                  options_.dtype,
                  num_slots,
                  most,
                  memory.slot_first_row,
                  memory.computed});
  if (is_audited) return_audited();
}

/// At most: how many rows so many assignments are of, the host does not know.
std::int64_t DeviceLayer::places_by_source(std::int64_t num_assignments) const {
  const std::size_t num_ranks = engine_.communicator().size();
  if (arrangement_.capacity > 0) return static_cast<std::int64_t>(num_ranks * arrangement_.capacity);
  return std::min(num_assignments, static_cast<std::int64_t>(num_ranks * lane_.sizes().max_tokens));
}

std::vector<std::int64_t> DeviceLayer::places_of_ranks(std::span<const std::int64_t> per_slot) const {
  const std::size_t num_ranks = engine_.communicator().size();
  std::vector<std::int64_t> places(num_ranks, 0);
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    if (arrangement_.order == RowOrder::by_source) {
      places[rank] = places_by_source(report_.assignments_per_rank[rank]);
      continue;
    }
    for (const std::int64_t count : assignments_of(rank_at(rank), placement_, per_slot)) {
      const std::uint32_t room = arrangement_.room_for(static_cast<std::uint32_t>(count));
      places[rank] += room;
      if (count <= room) continue;
      throw Error(
          ErrorKind::invalid_input,
          fmt::format("layer {}: a slot of rank {} gets {} assignments, but rows are arranged with room "
                      "for {}",
                      number_, rank, count, room),
          ErrorScope::shared);
    }
  }
  return places;
}

/// Rows and results, and by source what rows are for.
std::size_t DeviceLayer::arranged_bytes(std::size_t num_places) const {
  const std::size_t of_choices = spec_.router.top_k * (sizeof(std::int32_t) + sizeof(float));
  return num_places *
         (2 * lane_.sizes().row_bytes() + (arrangement_.order == RowOrder::by_source ? of_choices : 0));
}

/// All ranks know alike what each needs.
void DeviceLayer::expect_places(std::span<const std::int64_t> per_slot) {
  Communicator& communicator = engine_.communicator();
  const std::vector<std::int64_t> places = places_of_ranks(per_slot);
  num_places_ = static_cast<std::size_t>(places[index(communicator.rank())]);
  std::vector<std::int64_t> most = most_places_;
  for (std::size_t rank = 0; rank < most.size(); ++rank) most[rank] = std::max(most[rank], places[rank]);
  if (most == most_places_) return;
  most_places_.assign(most.size(), 0);  // in case that there is no memory
  together(communicator, [&] {
    const auto room = static_cast<std::size_t>(most[index(communicator.rank())]);
    arranged_ = DeviceBuffer();  // not beside the larger one
    arranged_ = DeviceBuffer(lane_.device(), engine_.memory(), arranged_name, arranged_bytes(room));
  });
  most_places_ = std::move(most);
}

/// What its results are counted by are the rows that it was given.
void DeviceLayer::run_function() {
  arrangement_.order == RowOrder::by_slot ? run_function_by_slot() : run_function_by_source();
}

void DeviceLayer::run_function_by_slot() {
  const DeviceStepMemory& memory = lane_.memory();
  const std::size_t row_bytes = lane_.sizes().row_bytes();
  const std::uint32_t num_slots = narrow(promised_.size());
  std::byte* const rows = arranged_.data();
  std::byte* const results = rows + num_places_ * row_bytes;
  Queue& queue = lane_.queue();
  queue.run(arrange_rows, {lane_.arrivals().inputs, memory.slot_first_row, rows, memory.first_place,
                           memory.computed, row_bytes, arrangement_, num_slots, narrow(num_places_)});
  function_(queue, placement_.experts_of(engine_.communicator().rank()),
            {rows, results, memory.first_place, memory.computed, promised_, num_places_});
  queue.run(return_rows, {results, memory.first_place, memory.computed, memory.slot_first_row,
                          lane_.arrivals().outputs, row_bytes, num_slots, narrow(num_promised_)});
}

void DeviceLayer::run_function_by_source() {
  const DeviceStepMemory& memory = lane_.memory();
  const PinnedStepMemory& pinned = lane_.pinned();
  const std::size_t row_bytes = lane_.sizes().row_bytes(), top_k = spec_.router.top_k;
  const std::uint32_t num_slots = narrow(promised_.size());
  const std::uint32_t num_sources = narrow(engine_.communicator().size());
  std::byte* const rows = arranged_.data();
  std::byte* const results = rows + num_places_ * row_bytes;
  auto* const slots = reinterpret_cast<std::int32_t*>(results + num_places_ * row_bytes);
  auto* const weights = reinterpret_cast<float*>(slots + num_places_ * top_k);
  Queue& queue = lane_.queue();
  queue.fill(memory.computed, 0, num_slots * sizeof *memory.computed);
  queue.run(arrange_sources,
            {memory.sources, rows, slots, weights, memory.first_place, memory.from_sources, memory.computed,
             row_bytes, num_sources, num_slots, narrow(top_k), arrangement_.capacity, narrow(num_places_)});
  queue.copy(pinned.from_sources, memory.from_sources, num_sources * sizeof *memory.from_sources);
  lane_.wait();
  from_sources_.assign(pinned.from_sources, pinned.from_sources + num_sources);
  const auto num_rows =
      static_cast<std::size_t>(std::accumulate(from_sources_.begin(), from_sources_.end(), std::int64_t{0}));
  function_(queue, placement_.experts_of(engine_.communicator().rank()),
            {rows, results, memory.first_place, memory.from_sources, from_sources_,
             arrangement_.capacity > 0 ? num_places_ : num_rows, slots, weights});
  queue.run(return_sources, {results, memory.first_place, memory.from_sources, memory.sources, row_bytes,
                             num_sources, narrow(num_places_)});
}

}  // namespace moewe
