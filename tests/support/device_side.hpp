#pragma once

#include <cstdlib>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <string_view>

#include "comm/device.hpp"
#include "comm/memory_meter.hpp"
#include "tests/support/world.hpp"

namespace moewe::test {

/// What a rank works with: the emulated device, or a GPU with MOEWE_TEST_DEVICE=gpu.
struct Side {
  explicit Side(Communicator& communicator) {
    const char* wanted = std::getenv("MOEWE_TEST_DEVICE");
    const bool is_gpu = wanted != nullptr && std::string_view(wanted) == "gpu";
    DeviceOffer offer =
        choose_device(is_gpu ? DeviceChoice::gpu : DeviceChoice::cpu, index(communicator.rank()));
    device = std::move(offer.device);
    reason_for_none = offer.reason_for_none;
  }

  MemoryMeter meter;
  std::unique_ptr<Device> device;
  std::string reason_for_none;
};

/// Runs `work` on every rank that has a device; where ranks have none, the test is skipped.
inline void on_every_device(const std::function<void(Communicator&, Side&)>& work) {
  bool is_skipped = false;
  on_every_rank([&](Communicator& communicator, const Backend&) {
    Side side(communicator);
    if (side.device) return work(communicator, side);
    if (index(communicator.rank()) == 0) is_skipped = true;
  });
  if (is_skipped) GTEST_SKIP() << "no GPU";
}

inline void wait(Communicator& communicator, Queue& queue) {
  communicator.waiter().until([&] { return queue.is_idle(); }, {"the device"});
}

}  // namespace moewe::test
