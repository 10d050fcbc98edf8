#include "runtime/engine.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

MemoryPlan taken(const MemoryMeter& meter) {
  MemoryPlan memory;
  for (const auto& [name, use] : meter.by_name()) memory.add(name, use.bytes);
  return memory;
}

/// Collective. Throws a shared Error(disagreement), before anything is made in another number on one rank.
void require_same_options(Communicator& communicator, const EngineOptions& options) {
  const std::array<std::int64_t, 2> mine{static_cast<std::int64_t>(options.lanes),
                                         static_cast<std::int64_t>(options.verify)};
  constexpr std::array<const char*, 2> names{"number of lanes", "verification level"};
  std::array<std::int64_t, 2> lowest = mine;
  std::array<std::int64_t, 2> highest = mine;
  communicator.all_reduce({.sums = {}, .minima = lowest, .maxima = highest});
  for (std::size_t i = 0; i < mine.size(); ++i) {
    if (lowest[i] == highest[i]) continue;
    throw Error(
        ErrorKind::disagreement,
        fmt::format("ranks disagree about the engine's {}: {} and {}", names[i], lowest[i], highest[i]),
        ErrorScope::shared);
  }
}

}  // namespace

Engine::Engine(Communicator& communicator, const Backend& backend, const EngineOptions& options)
    : options_(options),
      backend_(backend),
      communicator_(backend.make_engine_communicator(communicator, meter_)),
      own_memory_(taken(meter_)),
      token_buffers_(meter_),
      workspace_(meter_, std::max<std::size_t>(1, options.threads)) {
  if (Watch* watch = communicator_->waiter().watch()) {
    position_.shown = &watch->status();
    position_.tally = &watch->tally();
  }
  require_same_options(*communicator_, options);
  for (std::size_t i = 0; i < std::max<std::size_t>(1, options.lanes); ++i) {
    lanes_.push_back(
        std::make_unique<Lane>(*communicator_, backend, meter_, token_buffers_, options.exchange));
    initial_lane_bytes_ += lanes_.back()->memory().bytes();
    needs_progress_ = needs_progress_ || lanes_.back()->exchange().needs_progress();
  }
  for (const auto& lane : lanes_) lane->when_planned([this] { note_planned(); });
  note_planned();
  if (!needs_progress_) return;
  while_waiting_.emplace(communicator_->waiter(), [this] { progress(); });
  workspace_.set_meanwhile([this] { progress_while_computing(); });
}

void Engine::progress() {
  for (const auto& lane : lanes_) lane->exchange().progress();
}

/// Pieces may be small, and there is no use in looking after each.
void Engine::progress_while_computing() {
  constexpr std::chrono::microseconds least{20};
  const auto now = std::chrono::steady_clock::now();
  if (now - progressed_ < least) return;
  for (const auto& lane : lanes_) {
    if (lane->exchange().overlaps()) lane->exchange().progress();
  }
  progressed_ = now;
}

std::span<std::byte> Engine::add_token_buffer(std::size_t bytes) {
  const std::size_t before = token_buffers_.memory().bytes();
  const std::span<std::byte> buffer = token_buffers_.add(*communicator_, backend_, bytes);
  own_memory_.add(TokenBuffers::meter_name, token_buffers_.memory().bytes() - before);
  return buffer;
}

MemoryPlan Engine::planned_memory() const {
  MemoryPlan all;
  for (const auto& lane : lanes_) {
    for (const auto& [name, bytes] : lane->planned().by_name()) all.add(name, bytes);
  }
  return all;
}

void Engine::note_planned() {
  std::size_t sum = 0;
  for (const auto& lane : lanes_) sum += lane->planned_bytes();
  planned_bytes_ = std::max(planned_bytes_, sum);
}

void Engine::add_layer(std::size_t num_counts) {
  max_counts_ = std::max(max_counts_, num_counts);
  ++num_layers_;
}

ChunkCarrier& Engine::require_chunk_carrier() {
  if (!chunk_carrier_) chunk_carrier_ = std::make_unique<ChunkCarrier>(*communicator_, backend_, meter_);
  return *chunk_carrier_;
}

Lane& Engine::begin_step(std::size_t layer) {
  position_.enter(++num_started_, layer);
  position_.phase = Phase::route;
  const auto idle =
      std::find_if(lanes_.begin(), lanes_.end(), [](const auto& lane) { return !lane->is_busy; });
  if (idle == lanes_.end()) {
    throw InvalidInput(
        fmt::format("{} steps are in flight already; finish one first, or construct the engine "
                    "with more lanes",
                    lanes_.size()));
  }
  return **idle;
}

void Engine::take_in_flight(std::uint64_t step) {
  if (in_flight_.empty() || in_flight_.front() != step) {
    throw InvalidInput(
        fmt::format("step {} is not the oldest in flight; steps are finished in the order in which "
                    "they were started, each once",
                    step));
  }
  in_flight_.pop_front();
}

std::size_t Engine::lane_budget() const {
  std::size_t in_lanes = 0;
  for (const auto& lane : lanes_) in_lanes += lane->memory().bytes();
  const std::size_t beside = meter_.bytes() - in_lanes;
  return options_.memory_limit > beside ? (options_.memory_limit - beside) / lanes_.size() : 0;
}

}  // namespace moewe
