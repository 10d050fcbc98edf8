#include "comm/direct_device_transport.hpp"

#include <array>
#include <atomic>
#include <gtest/gtest.h>
#include <span>

#include "comm/error.hpp"
#include "comm/waiter.hpp"

namespace moewe {
namespace {

/// Cannot post anything.
class BrokenCarrier : public MessageTransport {
 public:
  Request post_send(Rank, Tag, std::span<const std::byte>) override { fail(); }
  Request post_recv(std::optional<Rank>, Tag, std::span<std::byte>) override { fail(); }
  void progress() override {}

 private:
  [[noreturn]] static void fail() { throw Error(ErrorKind::communication, "the carrier broke"); }
};

TEST(DirectDeviceTransport, WhatCouldNotBePostedIsNeverDone) {
  const Waiter waiter(std::chrono::seconds(20));
  const auto device = choose_device(DeviceChoice::cpu, 0).device;
  const auto transport = make_direct_device_transport(waiter, *device, std::make_unique<BrokenCarrier>());
  const auto queue = device->make_queue();
  const auto event = device->make_event();
  std::uint64_t flag = 0;
  queue->wait_for_flag(&flag, 1);
  queue->record(*event);
  transport->wait_for(*event);
  std::array<std::byte, 4> bytes{};
  Request receive = transport->post_recv(Rank{0}, Tag{0}, bytes);
  Request send = transport->post_send(Rank{0}, Tag{0}, bytes);
  EXPECT_FALSE(receive.is_done());
  std::atomic_ref(flag).store(1, std::memory_order_release);
  EXPECT_THROW(waiter.until([&] { return receive.is_done(); }, {"a message"}), Error);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THROW(receive.is_done(), Error);
    EXPECT_THROW(send.is_done(), Error);
  }
}

}  // namespace
}  // namespace moewe
