#include "comm/device.hpp"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <string_view>
#include <thread>
#include <vector>

#include "comm/device_buffer.hpp"
#include "comm/error.hpp"
#include "comm/waiter.hpp"

namespace moewe {
namespace {

constexpr std::size_t length = 10007;

void wait(Queue& queue) {
  Waiter(std::chrono::seconds(20)).until([&] { return queue.is_idle(); }, {"the device"});
}

struct Sleep {
  std::size_t milliseconds;
};

const Kernel<Sleep> sleep_for{
    "sleep", [](const Sleep& s) { std::this_thread::sleep_for(std::chrono::milliseconds(s.milliseconds)); },
    nullptr};
const Kernel<Sleep> fail{"fail", [](const Sleep&) { throw Error(ErrorKind::internal, "as told"); }, nullptr};

/// The emulated device, or with MOEWE_TEST_DEVICE=gpu a GPU where there is one.
class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* wanted = std::getenv("MOEWE_TEST_DEVICE");
    const bool is_gpu = wanted != nullptr && std::string_view(wanted) == "gpu";
    DeviceOffer offer = choose_device(is_gpu ? DeviceChoice::gpu : DeviceChoice::cpu, 0);
    if (!offer.device) GTEST_SKIP() << "no GPU: " << offer.reason_for_none;
    device_ = std::move(offer.device);
  }

  DeviceBuffer buffer(MemoryKind kind = MemoryKind::device) {
    return {*device_, meter_, "values", length, kind};
  }

  /// Holds the queue up, where it can be.
  void delay(Queue& queue) {
    if (device_->is_emulated()) queue.run(sleep_for, {20});
  }

  std::vector<std::byte> read(Queue& queue, const DeviceBuffer& from) {
    std::vector<std::byte> bytes(from.size());
    queue.copy(bytes.data(), from.data(), bytes.size());
    wait(queue);
    return bytes;
  }

  MemoryMeter meter_;
  std::unique_ptr<Device> device_;
};

TEST_F(DeviceTest, QueuesWorkInTheirOrderAndBesideTheCaller) {
  const auto queue = device_->make_queue();
  DeviceBuffer a = buffer();
  DeviceBuffer b = buffer();
  queue->fill(a.data(), 1, length);
  delay(*queue);
  queue->copy(b.data(), a.data(), length);
  queue->fill(a.data(), 2, length);
  EXPECT_TRUE(!device_->is_emulated() || !queue->is_idle());
  EXPECT_EQ(read(*queue, b), std::vector<std::byte>(length, std::byte{1}));
  EXPECT_EQ(read(*queue, a), std::vector<std::byte>(length, std::byte{2}));
}

TEST_F(DeviceTest, EventsOrderQueues) {
  const auto first = device_->make_queue();
  const auto second = device_->make_queue();
  const auto event = device_->make_event();
  EXPECT_TRUE(event->is_done());
  DeviceBuffer a = buffer();
  DeviceBuffer b = buffer();
  for (unsigned char round = 1; round <= 3; ++round) {
    delay(*first);
    first->fill(a.data(), round, length);
    first->record(*event);
    second->wait_for(*event);
    EXPECT_EQ((second->copy(b.data(), a.data(), length), read(*second, b)),
              std::vector<std::byte>(length, std::byte{round}));
    EXPECT_TRUE(event->is_done());
  }
  wait(*first);
}

TEST_F(DeviceTest, FlagsOrderQueuesAndTellTheHost) {
  constexpr std::size_t page = 4096;
  DeviceBuffer a = buffer();
  auto* const flags = static_cast<std::uint64_t*>(std::aligned_alloc(page, page));
  std::memset(flags, 0, page);
  {
    const auto shown = device_->show_host_memory(reinterpret_cast<std::byte*>(flags), page);
    auto* const on_device = reinterpret_cast<std::uint64_t*>(shown->device_address());
    const auto first = device_->make_queue();
    const auto second = device_->make_queue();
    second->wait_for_flag(on_device, 5);
    second->fill(a.data(), 7, length);
    second->set_flag(on_device + 8, 1);
    delay(*first);
    first->fill(a.data(), 6, length);
    first->set_flag(on_device, 5);
    const auto is_set = [&] { return std::atomic_ref(flags[8]).load(std::memory_order_acquire) == 1; };
    Waiter(std::chrono::seconds(20)).until(is_set, {"a flag"});
    wait(*first);
    EXPECT_EQ(read(*second, a), std::vector<std::byte>(length, std::byte{7}));
  }
  std::free(flags);
}

TEST_F(DeviceTest, BuffersAreCountedAlignedAndRefusedByNameAndSize) {
  {
    DeviceBuffer a = buffer();
    DeviceBuffer b = std::move(a);
    EXPECT_EQ(meter_.bytes(), length);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.data()) % 256, 0U);
    b = buffer(MemoryKind::pinned);
    std::memset(b.data(), 1, length);
  }
  EXPECT_EQ(meter_.bytes(), 0U);
  try {
    const DeviceBuffer huge(*device_, meter_, "huge rows", std::size_t{1} << 60);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::out_of_memory);
    EXPECT_NE(std::string_view(error.what()).find("bytes of huge rows"), std::string_view::npos);
  }
  EXPECT_EQ(meter_.bytes(), 0U);
}

TEST_F(DeviceTest, PinnedChunksAreTakenOnceUntilGivenBack) {
  PinnedPool pool(*device_, meter_, 2, 100);
  const auto a = pool.take();
  const auto b = pool.take();
  EXPECT_GE(b.data - a.data, 100);
  EXPECT_EQ(pool.take().data, nullptr);
  pool.give_back(a);
  EXPECT_THROW(pool.give_back(a), Error);
  EXPECT_EQ(pool.take().data, a.data);
}

void expect_internal(const std::string& part, const std::function<void()>& work) {
  try {
    work();
    ADD_FAILURE() << "nothing was thrown where '" << part << "' was expected";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::internal);
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST_F(DeviceTest, WhatIsRecordedIsDoneOnceForEachLaunchAndNotBefore) {
  const auto queue = device_->make_queue();
  DeviceBuffer a = buffer();
  DeviceBuffer b = buffer();
  queue->fill(a.data(), 1, length);
  queue->fill(b.data(), 2, length);
  const auto graph = queue->record_graph([&] {
    queue->copy(b.data(), a.data(), length);
    queue->fill(a.data(), 3, length);
  });
  EXPECT_EQ(graph->num_nodes(), 2U);
  EXPECT_EQ(read(*queue, b), std::vector<std::byte>(length, std::byte{2}));
  queue->launch(*graph);
  EXPECT_EQ(read(*queue, b), std::vector<std::byte>(length, std::byte{1}));
  for (const unsigned char value : {std::uint8_t{4}, std::uint8_t{5}, std::uint8_t{6}}) {
    queue->fill(a.data(), value, length);
    queue->launch(*graph);
    EXPECT_EQ(read(*queue, b), std::vector<std::byte>(length, std::byte{value}));
    EXPECT_EQ(read(*queue, a), std::vector<std::byte>(length, std::byte{3}));
  }
}

TEST_F(DeviceTest, AQueueThatIsForkedAndJoinedTakesPartInARecording) {
  const auto queue = device_->make_queue();
  const auto side = device_->make_queue();
  const auto forked = device_->make_event();
  const auto joined = device_->make_event();
  DeviceBuffer a = buffer();
  DeviceBuffer b = buffer();
  const auto graph = queue->record_graph([&] {
    queue->fill(a.data(), 7, length);
    queue->record(*forked);
    side->wait_for(*forked);
    side->copy(b.data(), a.data(), length);
    side->record(*joined);
    queue->wait_for(*joined);
    queue->fill(a.data(), 8, length);
  });
  EXPECT_EQ(graph->num_nodes(), 3U);
  side->fill(b.data(), 1, length);  // not recorded any more
  EXPECT_EQ(read(*side, b), std::vector<std::byte>(length, std::byte{1}));
  for (int launch = 0; launch < 3; ++launch) {
    queue->fill(b.data(), 2, length);
    queue->launch(*graph);
    EXPECT_EQ(read(*queue, b), std::vector<std::byte>(length, std::byte{7}));
    EXPECT_EQ(read(*queue, a), std::vector<std::byte>(length, std::byte{8}));
  }
  queue->record(*forked);
  wait(*queue);
  EXPECT_TRUE(forked->is_done());
}

TEST_F(DeviceTest, WhatARecordingWaitsForIsUsedUpByEachLaunch) {
  constexpr std::size_t page = 4096;
  DeviceBuffer a = buffer();
  auto* const flags = static_cast<std::uint64_t*>(std::aligned_alloc(page, page));
  std::memset(flags, 0, page);
  {
    const auto shown = device_->show_host_memory(reinterpret_cast<std::byte*>(flags), page);
    auto* const on_device = reinterpret_cast<std::uint64_t*>(shown->device_address());
    const auto queue = device_->make_queue();
    const std::vector<FlagValue> both_set{{on_device, 1}, {on_device + 8, 1}};
    const std::vector<FlagValue> both_used{{on_device, 0}, {on_device + 8, 0}};
    const auto graph = queue->record_graph([&] {
      queue->wait_for_flags(both_set);
      queue->set_flags(both_used);
      queue->fill(a.data(), 5, length);
    });
    for (int launch = 0; launch < 3; ++launch) {
      queue->fill(a.data(), 4, length);
      queue->launch(*graph);
      std::atomic_ref(flags[8]).store(1, std::memory_order_release);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      EXPECT_FALSE(queue->is_idle()) << "the other flag is not set";
      std::atomic_ref(flags[0]).store(1, std::memory_order_release);
      EXPECT_EQ(read(*queue, a), std::vector<std::byte>(length, std::byte{5}));
      EXPECT_EQ(std::atomic_ref(flags[0]).load() + std::atomic_ref(flags[8]).load(), 0U);
    }
  }
  std::free(flags);
}

TEST_F(DeviceTest, WhatCannotBeRecordedIsAnErrorAndTheQueueGoesOn) {
  const auto queue = device_->make_queue();
  const auto other = device_->make_queue();
  const auto event = device_->make_event();
  DeviceBuffer a = buffer();
  const auto graph = queue->record_graph([&] { queue->fill(a.data(), 9, length); });
  const auto refused = [&](const std::string& part, const std::function<void()>& work) {
    expect_internal(part, [&] {
      (void)queue->record_graph([&] {
        queue->fill(a.data(), 1, length);
        work();
      });
    });
    queue->fill(a.data(), 2, length);
    EXPECT_EQ(read(*queue, a), std::vector<std::byte>(length, std::byte{2})) << part;
  };
  refused("idle", [&] { (void)queue->is_idle(); });
  refused("idle", [&] { (void)other->is_idle(); });
  refused("event", [&] { (void)event->is_done(); });
  refused("making memory", [&] { buffer(); });
  refused("making memory", [&] { buffer(MemoryKind::pinned); });
  refused("sharing memory", [&] { (void)device_->share(100, 100); });
  refused("launching a graph", [&] { queue->launch(*graph); });
  refused("another graph", [&] { (void)other->record_graph([] {}); });
  refused("as told", [] { throw Error(ErrorKind::internal, "as told"); });
  queue->launch(*graph);
  EXPECT_EQ(read(*queue, a), std::vector<std::byte>(length, std::byte{9}));
}

/// CUDA says so in words of its own.
TEST_F(DeviceTest, RecordingsThatAreNotWholeAreErrors) {
  const auto queue = device_->make_queue();
  const auto side = device_->make_queue();
  const auto event = device_->make_event();
  DeviceBuffer a = buffer();
  const auto fork = [&] {
    queue->record(*event);
    side->wait_for(*event);
    side->fill(a.data(), 1, length);
  };
  EXPECT_THROW((void)queue->record_graph(fork), Error) << "no join";
  EXPECT_THROW(side->wait_for(*event), Error) << "an event of a recording that is over";
  queue->record(*event);
  EXPECT_THROW((void)side->record_graph([&] { side->wait_for(*event); }), Error) << "an event from outside";
  side->wait_for(*event);
  side->fill(a.data(), 3, length);
  EXPECT_EQ(read(*side, a), std::vector<std::byte>(length, std::byte{3}));
  wait(*queue);
}

TEST_F(DeviceTest, WorkThatFailsIsNamedWhereItsEndIsAskedFor) {
  if (!device_->is_emulated()) GTEST_SKIP() << "no kernel of a GPU fails as told";
  const auto queue = device_->make_queue();
  queue->run(fail, {});
  try {
    wait(*queue);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::communication);
    EXPECT_NE(std::string_view(error.what()).find("as told"), std::string_view::npos);
  }
  EXPECT_THROW(queue->is_idle(), Error);
}

TEST_F(DeviceTest, AnEmulatedQueueEndsAWaitThatNobodyWillEnd) {
  if (!device_->is_emulated()) GTEST_SKIP() << "a GPU's would not";
  const std::uint64_t flag = 0;
  const auto queue = device_->make_queue();
  queue->wait_for_flag(&flag, 1);
  EXPECT_FALSE(queue->is_idle());
}

TEST(DeviceChoice, OffersTheEmulatedDeviceOrSaysWhyThereIsNoGpu) {
  EXPECT_TRUE(choose_device(DeviceChoice::cpu, 3).device->is_emulated());
  const DeviceOffer any = choose_device(DeviceChoice::automatic, 0);
  ASSERT_NE(any.device, nullptr);
  const DeviceOffer gpu = choose_device(DeviceChoice::gpu, 0);
  EXPECT_EQ(any.device->is_emulated(), gpu.device == nullptr);
  EXPECT_EQ(gpu.reason_for_none.empty(), gpu.device != nullptr);
  EXPECT_EQ(any.reason_for_none, gpu.reason_for_none);
}

}  // namespace
}  // namespace moewe
