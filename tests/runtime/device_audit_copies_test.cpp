// Audits copy to and from memory of the host that is not pinned. On a GPU such a copy may block for what its
// queue holds, so it is begun only when that is nothing.

#include <atomic>
#include <gtest/gtest.h>
#include <map>
#include <mutex>

#include "comm/emulated/emulated_queue.hpp"
#include "tests/support/device_layers.hpp"
#include "tests/support/odd_device.hpp"

namespace moewe {
namespace {

constexpr std::size_t num_ranks = 2;
constexpr std::size_t num_tokens = 5;

/// Memory of the ranks' devices, and what is pinned.
class KnownMemory {
 public:
  void add(const std::byte* memory, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    ends_[memory] = memory + bytes;
  }

  bool holds(const void* address) const {
    const auto* const byte = static_cast<const std::byte*>(address);
    const std::lock_guard lock(mutex_);
    auto behind = ends_.upper_bound(byte);
    return behind != ends_.begin() && byte < std::prev(behind)->second;
  }

 private:
  mutable std::mutex mutex_;
  std::map<const std::byte*, const std::byte*> ends_;
};

/// Copies of memory that it does not know.
struct OtherCopies {
  KnownMemory known;
  std::atomic<int> all{0};
  std::atomic<int> behind_work{0};
};

class CountingQueue : public EmulatedQueue {
 public:
  explicit CountingQueue(OtherCopies& copies) : copies_(copies) {}

  void copy(void* to, const void* from, std::size_t bytes) override {
    if (!copies_.known.holds(to) || !copies_.known.holds(from)) {
      ++copies_.all;
      if (!is_idle()) ++copies_.behind_work;
    }
    enqueue([] { std::this_thread::sleep_for(std::chrono::microseconds(100)); });  // is not idle at once
    EmulatedQueue::copy(to, from, bytes);
  }

 private:
  OtherCopies& copies_;
};

class CountingDevice : public test::OddDevice {
 public:
  CountingDevice(Device& real, OtherCopies& copies) : OddDevice(real, true, true), copies_(copies) {}

  std::unique_ptr<Queue> make_queue() override { return std::make_unique<CountingQueue>(copies_); }
  std::byte* allocate(MemoryKind kind, std::size_t bytes) override {
    std::byte* const memory = OddDevice::allocate(kind, bytes);
    copies_.known.add(memory, bytes);
    return memory;
  }
  std::unique_ptr<SharedMemory> share(std::size_t bytes, std::size_t reserved) override {
    auto memory = OddDevice::share(bytes, reserved);
    copies_.known.add(memory->data(), reserved);
    return memory;
  }

 private:
  OtherCopies& copies_;
};

TEST(DeviceAuditCopies, AreBegunOnceTheQueueIsIdle) {
  OtherCopies copies;
  run_ranks(num_ranks, test::patience, [&](Communicator& communicator) {
    test::Side side(communicator);
    CountingDevice device(*side.device, copies);
    EngineOptions options;
    options.verify = VerifyLevel::audit;
    Engine engine(communicator, loopback_backend(), options);
    const LayerSpec spec{{16, 12}, 6, {2, true}};
    DeviceLane lane(engine, device, {spec, Dtype::f32, num_tokens, 3, 6});
    DeviceLayer layer(engine, lane, spec, contiguous_placement(6, num_ranks),
                      test::GeneratedWeights(spec, test::weights_seed));
    const std::size_t bytes = num_tokens * 16 * sizeof(float);
    DeviceBuffer x(device, side.meter, "x", bytes), y(device, side.meter, "y", bytes);
    lane.queue().fill(x.data(), 0, bytes);
    lane.wait();
    communicator.barrier();  // what loads weights waits for itself
    copies.all = copies.behind_work = 0;
    communicator.barrier();
    layer.forward(x.data(), num_tokens, y.as<float>());
    communicator.barrier();
  });
  EXPECT_GT(copies.all, 0);
  EXPECT_EQ(copies.behind_work, 0);
}

}  // namespace
}  // namespace moewe
