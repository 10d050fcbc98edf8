#pragma once

#include <array>
#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "comm/backend.hpp"
#include "tests/support/stall_watch.hpp"

namespace moewe::test {

/// What happens to a message, or to what a rank publishes in peer memory.
///
///              a message                               a publication
enum class Fault {
  flip,       ///< one of its bits                        one of the bits that it publishes
  drop,       ///< it never comes                         nor do those after it of the flag in the step
  duplicate,  ///< it comes twice                         (the second one would change nothing)
  truncate,   ///< its end is missing                     the end of what it publishes is not written
  reorder,    ///< it comes after the next one            it is seen before what it publishes
  stale,      ///< its bytes are those of an earlier one  a part of it is what was there before
  delay,      ///< it comes later, and so do those after it between the same ranks: which breaks no promise
};

inline constexpr std::array all_faults{Fault::flip,    Fault::drop,  Fault::duplicate, Fault::truncate,
                                       Fault::reorder, Fault::stale, Fault::delay};

std::string name_of(Fault fault);

/// What carries bytes between the ranks of a layer.
enum class Carrier { message, direct_memory, node_memory };

/// One message or publication, the same in every run.
struct Place {
  Carrier carrier;
  Rank from;
  Rank to;               ///< of publications, which anybody may read, the same as `from`
  int channel;           ///< tag or flag
  std::uint64_t number;  ///< of the message on its channel, or the generation that is published

  auto operator<=>(const Place&) const = default;
  bool shares_channel(const Place& other) const {
    return carrier == other.carrier && from == other.from && to == other.to && channel == other.channel;
  }
};

/// What can be struck.
struct Event {
  Place place;
  std::size_t bytes;  ///< of the message; of what is written since the publication before this one
  bool is_repeated;   ///< an earlier message of its kind and length has other bytes: what stale needs
};

/// What was struck.
struct Strike {
  Place place;
  std::size_t step = 0;

  /// As it should have been: all that the channel carries up to the next message, or the whole segment.
  std::vector<std::byte> bytes;

  /// Which of these did not come, or not as they are there.
  std::vector<bool> is_spoilt;
};

/// Lets one fault happen in one place. Without a place it lists the places that there are. Thread-safe;
/// outlives what it is used by.
class FaultInjector {
 public:
  FaultInjector(std::size_t num_ranks, Fault fault, std::optional<Place> target, std::uint64_t seed)
      : fault_(fault),
        target_(target),
        random_(seed),
        board_(num_ranks),
        steps_(num_ranks),
        unsealed_(num_ranks) {}

  Fault fault() const { return fault_; }
  bool is_listing() const { return !target_; }
  StallBoard& board() { return board_; }

  /// Of a rank, on its thread; from 1.
  void enter_step(Rank rank, std::size_t step) { steps_[index(rank)] = step; }
  std::size_t step(Rank rank) const { return steps_[index(rank)]; }

  /// An expert's output, on the thread of its rank: it is promised to nobody before it has a checksum, which
  /// it gets when it is given back.
  void add_unsealed(Rank rank, std::span<const std::byte> output) {
    unsealed_[index(rank)].push_back(output);
  }
  const std::vector<std::span<const std::byte>>& unsealed(Rank rank) const { return unsealed_[index(rank)]; }
  void seal(Rank rank) { unsealed_[index(rank)].clear(); }
  bool is_unsealed(Rank rank, const std::byte* byte) const;

  /// Whether this message or publication is, or comes before or after, what is to be struck.
  bool is_on_target(const Place& place) const { return target_ && target_->shares_channel(place); }

  /// Whether this is it: of publications the first that is not before it.
  bool strikes(const Place& place);

  void record(const Event& event);

  /// A number below `count`.
  std::size_t below(std::size_t count);

  /// Once all ranks have ended.
  const std::optional<Strike>& strike() const { return strike_; }
  const std::vector<Event>& events() const { return events_; }

  /// Of the rank on which the strike was, which alone writes it.
  Strike& own_strike() { return *strike_; }

 private:
  Fault fault_;
  std::optional<Place> target_;
  std::mutex mutex_;
  std::mt19937_64 random_;
  StallBoard board_;
  std::vector<std::size_t> steps_;
  std::vector<std::vector<std::span<const std::byte>>> unsealed_;
  std::optional<Strike> strike_;
  std::vector<Event> events_;
};

/// Of what has been listed, all places in which the fault changes what a receiver sees.
std::vector<Place> places_for(Fault fault, const std::vector<Event>& events);

/// The same backend, with messages and peer memory that the injector spoils.
Backend faulty(const Backend& backend, FaultInjector& injector);

}  // namespace moewe::test
