#include "benchmarks/exchange/machine_state.hpp"

#include <algorithm>

#include "benchmarks/harness.hpp"

namespace moewe::bench {

std::string MachineState::name() const {
  constexpr double far_s = 250e-9;
  if (ping_pong_s == 0) return "none";
  return ping_pong_s < far_s ? "near" : "far";
}

StateProbe::StateProbe(Communicator& communicator, const Backend& backend)
    : communicator_(communicator), memory_(backend.make_peer_memory(communicator, meter_, 1)) {}

MachineState StateProbe::measure() {
  constexpr int batches = 20;
  MachineState state;
  const bool can =
      memory_.memory && communicator_.size() > 1 && communicator_.topology().share_node(Rank{0}, Rank{1});
  if (can && number(communicator_.rank()) < 2) {
    state.ping_pong_s = ping();
    for (int i = 1; i < batches; ++i) state.ping_pong_s = std::min(state.ping_pong_s, ping());
  }
  communicator_.broadcast(std::as_writable_bytes(std::span(&state.ping_pong_s, 1)), Rank{0});
  return state;
}

double StateProbe::ping() {
  constexpr int rounds = 20;
  PeerMemory& memory = *memory_.memory;
  const bool begins = communicator_.rank() == Rank{0};
  const Rank peer = begins ? Rank{1} : Rank{0};
  const auto wait = [&](std::uint64_t wanted) {
    communicator_.waiter().until([&] { return memory.published(peer, 0) >= wanted; }, {"an answer", peer});
  };
  const double seconds = seconds_of([&] {
    for (int i = 0; i < rounds; ++i) {
      ++generation_;
      if (begins) memory.publish(0, generation_);
      wait(generation_);
      if (!begins) memory.publish(0, generation_);
    }
  });
  return seconds / (2 * rounds);
}

}  // namespace moewe::bench
