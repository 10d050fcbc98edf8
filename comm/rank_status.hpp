#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <sys/types.h>

#include "comm/rank.hpp"

namespace moewe {

/// A short text in a value that can be sent; what is too long is cut.
template <std::size_t capacity>
class ShortText {
 public:
  ShortText() = default;
  explicit ShortText(std::string_view text) { text.copy(chars_.data(), capacity - 1); }

  std::string_view view() const { return {chars_.data(), strnlen(chars_.data(), capacity)}; }

 private:
  std::array<char, capacity> chars_{};
};

/// A ShortText that one thread writes while others, also of other processes, read it. Words are whole; of a
/// text that is just being replaced a reader may see some words of the next.
template <std::size_t capacity>
class SharedText {
 public:
  void store(std::string_view text) {
    for (std::size_t i = 0; i < words_.size(); ++i) {
      std::uint64_t word = 0;
      const std::size_t first = std::min(text.size(), i * sizeof word);
      std::memcpy(&word, text.data() + first, std::min(sizeof word, text.size() - first));
      words_[i].store(word, std::memory_order_relaxed);
    }
  }

  ShortText<capacity + 1> load() const {
    std::array<char, capacity + 1> chars{};
    for (std::size_t i = 0; i < words_.size(); ++i) {
      const std::uint64_t word = words_[i].load(std::memory_order_relaxed);
      std::memcpy(chars.data() + i * sizeof word, &word, sizeof word);
    }
    return ShortText<capacity + 1>(std::string_view(chars.data(), strnlen(chars.data(), capacity)));
  }

 private:
  static_assert(capacity % sizeof(std::uint64_t) == 0);
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "it lies in memory of several processes");
  std::array<std::atomic<std::uint64_t>, capacity / sizeof(std::uint64_t)> words_{};
};

/// Whether a rank could go on if it were given what it waits for.
enum class Vitality : std::int32_t {
  runs,
  stopped,  ///< by a signal
  dead,     ///< its process is gone
  left,     ///< it has ended its part of the job
  silent,   ///< nobody can tell
};

/// What a rank did at one moment, as a value that can be sent.
struct RankState {
  Rank rank{};
  Vitality vitality = Vitality::silent;
  ShortText<64> host;
  ShortText<9> phase;
  ShortText<49> what;      ///< it waits for; empty while it computes
  std::int32_t peer = -1;  ///< whom it waits for; -1: for all others alike
  std::uint64_t step = 0;  ///< from 1; 0 outside the steps
  std::uint64_t layer = 0;
  double since_s = 0;  ///< that it has waited, or has been in its phase

  bool waits() const { return !what.view().empty(); }
};

/// What one rank does, written by its thread at next to no cost, and read at any time by threads that may be
/// of other processes.
class RankStatus {
 public:
  using Clock = std::chrono::steady_clock;  // the same for all processes of a node

  /// At most 8 characters of the phase are kept.
  void enter_phase(std::string_view phase, Clock::time_point now) {
    phase_.store(phase);
    phase_since_.store(ticks(now), std::memory_order_relaxed);
  }

  /// `step` from 1, or 0 outside the steps.
  void enter_step(std::uint64_t step, std::uint64_t layer) {
    is_counting_ = true;
    show_step(step, layer);
  }

  /// The same by an engine, whose count is shown unless the program counts for itself.
  void enter_engine_step(std::uint64_t step, std::uint64_t layer) {
    if (!is_counting_) show_step(step, layer);
  }

  /// A wait has outlasted its spins.
  void begin_wait(std::string_view what, std::optional<Rank> peer, Clock::time_point now) {
    what_.store(what);
    wait_for(peer);
    wait_since_.store(ticks(now), std::memory_order_relaxed);
    waits_.store(true, std::memory_order_release);
  }
  void wait_for(std::optional<Rank> peer) {
    peer_.store(peer ? number(*peer) : -1, std::memory_order_relaxed);
  }
  void end_wait() { waits_.store(false, std::memory_order_release); }

  /// All but rank, host and vitality.
  RankState load(Clock::time_point now) const {
    RankState state;
    state.phase = phase_.load();
    state.step = step_.load(std::memory_order_relaxed);
    state.layer = layer_.load(std::memory_order_relaxed);
    const bool waits = waits_.load(std::memory_order_acquire);
    if (waits) state.what = what_.load();
    if (waits) state.peer = peer_.load(std::memory_order_relaxed);
    const auto& since = waits ? wait_since_ : phase_since_;
    const Clock::duration age(ticks(now) - since.load(std::memory_order_relaxed));
    state.since_s = std::chrono::duration<double>(age).count();
    return state;
  }

 private:
  void show_step(std::uint64_t step, std::uint64_t layer) {
    step_.store(step, std::memory_order_relaxed);
    layer_.store(layer, std::memory_order_relaxed);
  }

  static Clock::rep ticks(Clock::time_point time) { return time.time_since_epoch().count(); }

  bool is_counting_ = false;  // the program, on the rank's thread
  SharedText<8> phase_;
  std::atomic<std::uint64_t> step_{0};
  std::atomic<std::uint64_t> layer_{0};
  std::atomic<Clock::rep> phase_since_{0};
  std::atomic<bool> waits_{false};
  std::atomic<std::int32_t> peer_{-1};
  std::atomic<Clock::rep> wait_since_{0};
  SharedText<48> what_;
};

}  // namespace moewe
