#include "tests/support/fault_injector.hpp"

#include <algorithm>

#include "tests/support/faulty_peer_memory.hpp"
#include "tests/support/faulty_transport.hpp"

namespace moewe::test {
namespace {

/// A second message on the channel is received in the place of the next one, and so is one that comes late.
bool has_next(const Place& place, const std::vector<Event>& events) {
  return std::any_of(events.begin(), events.end(), [&](const Event& other) {
    return other.place.shares_channel(place) && other.place.number > place.number;
  });
}

/// Counts of the message path have one tag for all rounds, of which the next does not begin before the last
/// one's have come: they cannot change places.
bool can_be_overtaken(const Place& place) { return place.channel != 0; }

bool is_possible(Fault fault, const Event& event, const std::vector<Event>& events) {
  const bool is_message = event.place.carrier == Carrier::message;
  switch (fault) {
    case Fault::drop:
    case Fault::delay:
      return true;
    case Fault::flip:
    case Fault::truncate:
      return event.bytes > 0;
    case Fault::duplicate:
      return is_message && has_next(event.place, events);
    case Fault::reorder:
      if (!is_message) return event.bytes > 0;
      return can_be_overtaken(event.place) && has_next(event.place, events);
    case Fault::stale:
      return is_message ? event.is_repeated : event.bytes > 0;
  }
  return false;
}

}  // namespace

std::string name_of(Fault fault) {
  constexpr std::array names{"flip", "drop", "duplicate", "truncate", "reorder", "stale", "delay"};
  return names[static_cast<std::size_t>(fault)];
}

bool FaultInjector::strikes(const Place& place) {
  if (!is_on_target(place)) return false;
  const bool is_message = place.carrier == Carrier::message;
  if (is_message ? place.number != target_->number : place.number < target_->number) return false;
  const std::lock_guard lock(mutex_);
  if (strike_) return false;
  strike_ = Strike{place, step(place.from), {}, {}};
  return true;
}

bool FaultInjector::is_unsealed(Rank rank, const std::byte* byte) const {
  const auto& outputs = unsealed_[index(rank)];
  return std::any_of(outputs.begin(), outputs.end(), [&](std::span<const std::byte> output) {
    return byte >= output.data() && byte < output.data() + output.size();
  });
}

void FaultInjector::record(const Event& event) {
  if (!is_listing()) return;
  const std::lock_guard lock(mutex_);
  events_.push_back(event);
}

std::size_t FaultInjector::below(std::size_t count) {
  const std::lock_guard lock(mutex_);
  return std::uniform_int_distribution<std::size_t>(0, count - 1)(random_);
}

std::vector<Place> places_for(Fault fault, const std::vector<Event>& events) {
  std::vector<Place> places;
  for (const Event& event : events) {
    if (is_possible(fault, event, events)) places.push_back(event.place);
  }
  std::sort(places.begin(), places.end());
  return places;
}

Backend faulty(const Backend& backend, FaultInjector& injector) {
  Backend result = backend;
  result.make_transport = [make = backend.make_transport, &injector](Communicator& communicator) {
    return std::make_unique<FaultyTransport>(communicator.rank(), make(communicator), injector);
  };
  result.make_peer_memory = [make = backend.make_peer_memory, &injector](
                                Communicator& communicator, MemoryMeter& meter, std::size_t num_flags) {
    PeerMemoryOffer offer = make(communicator, meter, num_flags);
    // By the numbers of flags that the two paths ask for, which differ from three ranks on.
    const Carrier carrier =
        num_flags == 2 * communicator.size() ? Carrier::node_memory : Carrier::direct_memory;
    if (offer.memory) {
      offer.memory = std::make_unique<FaultyPeerMemory>(Carrier{carrier}, communicator.rank(),
                                                        std::move(offer.memory), injector);
    }
    return offer;
  };
  return result;
}

}  // namespace moewe::test
