#include "comm/device_transport.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <utility>

#include "comm/direct_device_transport.hpp"
#include "comm/error.hpp"
#include "comm/nccl/nccl_transport.hpp"
#include "comm/staged/staged_transport.hpp"

namespace moewe {
namespace {

/// Empty where the carrier reads and writes this device's memory.
std::string reason_against(const Backend& backend, const Device& device) {
  return device.is_emulated() ? "" : backend.reason_for_no_gpu_memory();
}

/// Collective. That of the lowest rank that has one.
std::string first_reason(Communicator& communicator, const std::string& mine) {
  constexpr std::size_t longest = 200;
  std::array<char, longest> text{};
  std::copy_n(mine.data(), std::min(mine.size(), longest - 1), text.data());
  const auto all = all_gather_values(communicator, text);
  for (std::size_t rank = 0; rank < all.size(); ++rank)
    if (all[rank][0] != '\0') return fmt::format("rank {}: {}", rank, all[rank].data());
  return "";
}

std::unique_ptr<DeviceTransport> make_direct(Communicator& communicator, const Backend& backend,
                                             Device& device) {
  device.make_current();
  const bool is_gpu = !device.is_emulated() && backend.make_gpu_transport;
  auto carrier = is_gpu ? backend.make_gpu_transport(communicator) : backend.make_transport(communicator);
  return make_direct_device_transport(communicator.waiter(), device, std::move(carrier));
}

}  // namespace

DeviceCarriageChoice choose_device_carriage(Communicator& communicator, const Backend& backend,
                                            const Device& device, const DeviceTransportOptions& options) {
  if (options.carriage == DeviceCarriage::nccl) return {DeviceCarriage::nccl, "asked for"};
  const std::string obstacle = first_reason(communicator, reason_against(backend, device));
  const bool is_asked_for = options.carriage != DeviceCarriage::automatic;
  if (options.carriage == DeviceCarriage::direct && !obstacle.empty()) {
    throw Error(ErrorKind::invalid_input,
                fmt::format("{} cannot carry memory of devices: {}", backend.carrier, obstacle),
                ErrorScope::shared);
  }
  if (options.carriage != DeviceCarriage::staged && obstacle.empty()) {
    return {DeviceCarriage::direct,
            is_asked_for ? "asked for" : fmt::format("{} carries memory of devices", backend.carrier)};
  }
  return {DeviceCarriage::staged, is_asked_for ? "asked for" : obstacle};
}

std::size_t staging_bytes(DeviceCarriage carriage, const DeviceTransportOptions& options) {
  constexpr std::size_t num_directions = 2;
  return carriage == DeviceCarriage::staged ? num_directions * options.num_chunks * options.chunk_bytes : 0;
}

DeviceTransportChoice make_device_transport(Communicator& communicator, const Backend& backend,
                                            Device& device, MemoryMeter& meter,
                                            const DeviceTransportOptions& options) {
  const auto [carriage, reason] = choose_device_carriage(communicator, backend, device, options);
  const auto make = [&] {
    if (carriage == DeviceCarriage::nccl) return make_nccl_transport(communicator, backend, device);
    if (carriage == DeviceCarriage::direct) return make_direct(communicator, backend, device);
    return make_staged_transport(communicator, backend, device, meter, options);
  };
  return {make(), carriage, reason};
}

std::string describe(DeviceCarriage carriage) {
  if (carriage == DeviceCarriage::nccl) return "by NCCL";
  return carriage == DeviceCarriage::staged ? "staged through pinned chunks" : "directly";
}

}  // namespace moewe
