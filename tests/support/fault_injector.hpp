#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <random>
#include <string>

#include "comm/backend.hpp"

namespace moewe::test {

/// What happens to a message. Of what is published in peer memory a bit can be flipped in the segment, and
/// the publication can be dropped or delayed.
enum class Fault {
  flip,
  drop,
  duplicate,
  truncate,
  reorder,  ///< it comes after the next one between the same ranks
  stale,    ///< its bytes are those of an earlier one of the same length with another tag
  delay,    ///< it comes later, and so do those after it between the same ranks: which breaks no promise
};

inline constexpr std::array all_faults{Fault::flip,    Fault::drop,  Fault::duplicate, Fault::truncate,
                                       Fault::reorder, Fault::stale, Fault::delay};

std::string name_of(Fault fault);

/// What was spoilt. Peer memory has no receiver.
struct Struck {
  Rank from;
  std::optional<Rank> to;
};

/// Lets one fault happen among all that the ranks of a world send and publish. Thread-safe; outlives what it
/// is used by.
class FaultInjector {
 public:
  /// The fault happens at event number `at`, or at the next one that it can happen to; with `at` beyond all
  /// events there is none, and they are counted. `seed` chooses bits.
  FaultInjector(Fault fault, std::size_t at, std::uint64_t seed) : fault_(fault), at_(at), random_(seed) {}

  Fault fault() const { return fault_; }

  /// For each event, on the rank that it happens on: whether this is it.
  bool strikes(bool is_possible, const Struck& struck);

  /// A number below `count`.
  std::size_t below(std::size_t count);

  std::size_t num_events() const { return num_events_; }

  /// Once all ranks have ended.
  const std::optional<Struck>& struck() const { return struck_; }

 private:
  Fault fault_;
  std::size_t at_;
  std::mutex mutex_;
  std::mt19937_64 random_;
  std::atomic<std::size_t> num_events_{0};
  std::optional<Struck> struck_;
};

/// The same backend, with messages and peer memory that the injector spoils.
Backend faulty(const Backend& backend, FaultInjector& injector);

}  // namespace moewe::test
