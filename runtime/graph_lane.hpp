#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/device_lane.hpp"
#include "runtime/step_state.hpp"

namespace moewe {

/// What steps that are graphs are made for. The same on every rank.
struct GraphBounds {
  std::size_t most_tokens = 0;    ///< of any rank in a step; 0: as many as the lane was made for
  std::size_t most_arrivals = 0;  ///< assignments that a rank computes in a step; 0: all that there can be
};

/// Numbers of tokens that graphs are recorded for: 8, twice as many, and so on, and the most. A graph's grids
/// are for its bound, so that a step's are at most twice what it needs, of few graphs. Below 8 tokens a step
/// is bound by reading weights.
std::vector<std::size_t> graph_buckets(std::size_t most_tokens);

/// A step that was not done on any rank, since one of them broke a bound: its outputs were left as they were.
struct RefusedStep {
  std::uint64_t step = 0;  ///< of the lane's, from 1
  StepBound bound = StepBound::none;
  Rank rank{0};      ///< the first that broke it
  std::string what;  ///< for people
};

/// What steps have for themselves that are launched as graphs, beside the lane that they share with steps of
/// other kinds. Nothing is allocated in a step, and the host waits for nothing: sizes are in device memory.
///
/// A graph's flags cannot count, for what is recorded has fixed values. So each pair of ranks has flags of
/// its own, in the memory of the rank that waits: the other sets one to 1, and who has waited sets it back to
/// 0. It is set again in the next step alone, in which the two have heard of one another since. Steps are
/// counted in device memory by the graphs themselves; ranks compare their counts in every step.
///
/// Before outputs are written all ranks have told one another whether a bound was broken (StepBound). If so,
/// none writes any, and poll() reports it; the next step is as any other.
class GraphLane {
 public:
  static constexpr std::string_view graphs_name = "device graphs";
  static constexpr std::string_view pinned_name = "device graphs, pinned";

  /// Launches that can be under way.
  static constexpr std::size_t most_launched = 32;

  /// What queues tell the other ranks.
  enum Signal : std::size_t { rows_arrived, outputs_there, num_signals };

  /// Collective. Borrows engine and lane. Throws a shared Error when ranks pass different bounds, more than
  /// the lane has room for, or a rank has no memory.
  GraphLane(Engine& engine, DeviceLane& lane, const GraphBounds& bounds = {});

  /// Waits a while for what is under way. What a device still uses by then is kept until the process ends.
  ~GraphLane();
  GraphLane(const GraphLane&) = delete;
  GraphLane& operator=(const GraphLane&) = delete;

  /// What construction takes on this rank.
  static MemoryPlan plan_memory(const DeviceSizes& sizes, const GraphBounds& bounds, std::size_t num_ranks);

  /// Local, non-blocking: the steps done by now that were refused, and were not reported before.
  std::vector<RefusedStep> poll();

  /// Of one step, which is then not reported by poll().
  std::optional<RefusedStep> take_refusal(std::uint64_t step);

  /// Blocking: until all that was launched is done. Throws Error(timeout), naming the ranks that a signal is
  /// missing from.
  void wait();

  std::uint64_t num_launched() const { return num_launched_; }
  Engine& engine() { return engine_; }
  DeviceLane& lane() { return lane_; }
  const GraphBounds& bounds() const { return bounds_; }

  // For GraphLayer.

  /// Of one step of so many tokens on any rank: assignments that this rank has room for.
  std::size_t room_for(std::size_t bucket) const;

  /// Enqueues a step, and returns at once, unless more than most_launched are under way. All ranks launch the
  /// same steps in the same order.
  void launch(const std::function<void()>& enqueue);

  /// To all ranks, behind all that the queue holds; and from all, which is used up.
  void signal(Signal signal);
  void take(Signal signal);

  /// Where what is on the device lies.
  struct Memory {
    StepState* state;
    std::uint32_t* num_tokens;  ///< [1] for callers whose tokens are on the host
    StepWord** destinations;    ///< [R] of this rank's word
    float* shared_outputs;      ///< [most tokens, hidden], where there is a shared expert
    DeviceArrivals arrivals;

    Memory() = default;
    Memory(const DeviceSizes& sizes, const GraphBounds& bounds, std::size_t num_ranks, DeviceArena& arena);
  };
  const Memory& memory() const { return memory_; }
  const StepWord* words() const;  ///< [R] of all ranks
  StepRecord* records() const;    ///< [most_launched], pinned
  std::uint32_t* pinned_count() const;

 private:
  struct Owned;

  void check() const;
  void prepare();
  void collect();
  std::string missing() const;
  std::size_t flag(Signal signal, Rank source) const { return signal * num_ranks_ + index(source); }

  Engine& engine_;
  DeviceLane& lane_;
  GraphBounds bounds_;
  std::size_t num_ranks_;
  std::unique_ptr<Owned> owned_;
  Memory memory_;
  std::vector<FlagValue> to_all_[num_signals];
  std::vector<FlagValue> from_all_[num_signals];
  std::vector<FlagValue> used_up_[num_signals];
  std::uint64_t num_launched_ = 0;
  std::uint64_t num_collected_ = 0;
  std::vector<RefusedStep> refused_;
};

}  // namespace moewe
