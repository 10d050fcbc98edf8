#pragma once

#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "comm/device_transport.hpp"

namespace moewe::test {

/// A device transport with what it stands on.
class OwningDeviceTransport : public MessageTransport {
 public:
  OwningDeviceTransport(Communicator& communicator, const Backend& backend,
                        const DeviceTransportOptions& options)
      : device_(choose_device(DeviceChoice::cpu, 0).device),
        transport_(make_device_transport(communicator, backend, *device_, meter_, options).transport) {}

  Request post_send(Rank to, Tag tag, std::span<const std::byte> bytes) override {
    return transport_->post_send(to, tag, bytes);
  }
  Request post_recv(std::optional<Rank> from, Tag tag, std::span<std::byte> bytes) override {
    return transport_->post_recv(from, tag, bytes);
  }
  void progress() override { transport_->progress(); }

 private:
  MemoryMeter meter_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<DeviceTransport> transport_;
};

/// Where MOEWE_TEST_MESSAGES is "staged" or "direct", the same backend with messages between emulated
/// devices: staged through a few small chunks, or by the carrier itself.
inline Backend with_chosen_messages(Backend backend) {
  const char* messages = std::getenv("MOEWE_TEST_MESSAGES");
  if (messages == nullptr) return backend;
  DeviceTransportOptions options;
  options.carriage = std::string_view(messages) == "staged" ? DeviceCarriage::staged : DeviceCarriage::direct;
  options.chunk_bytes = 20000;
  options.num_chunks = 3;
  backend.make_transport = [beneath = backend, options](Communicator& communicator) {
    return std::make_unique<OwningDeviceTransport>(communicator, beneath, options);
  };
  return backend;
}

}  // namespace moewe::test
