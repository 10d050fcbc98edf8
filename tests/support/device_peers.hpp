#pragma once

#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include "comm/backend.hpp"
#include "comm/device_peer_memory.hpp"

namespace moewe::test {

/// Where MOEWE_TEST_PEERS is "emulated", the same backend with the memory of an emulated device in the place
/// of its peer memory, in segments that grow up to 2 MiB.
inline Backend with_chosen_peers(Backend backend) {
  const char* peers = std::getenv("MOEWE_TEST_PEERS");
  if (peers == nullptr || std::string_view(peers) != "emulated") return backend;
  const std::shared_ptr<Device> device = choose_device(DeviceChoice::cpu, 0).device;
  backend.make_peer_memory = [device](Communicator& communicator, MemoryMeter& meter, std::size_t num_flags) {
    const DeviceSegment segment(1, std::size_t{2} << 20U);
    DevicePeerMemoryOffer offer = make_device_peer_memory(communicator, *device, meter, num_flags, segment);
    return PeerMemoryOffer{std::move(offer.memory), std::move(offer.reason_for_none)};
  };
  return backend;
}

}  // namespace moewe::test
