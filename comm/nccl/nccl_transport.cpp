#include "comm/nccl/nccl_transport.hpp"

#include <fmt/format.h>

#include "comm/error.hpp"
#include "comm/grouped/grouped_transport.hpp"
#include "comm/nccl/check.hpp"
#include "comm/nccl/nccl_groups.hpp"
#include "comm/nccl/nccl_library.hpp"
#include "comm/together.hpp"

namespace moewe {

std::string reason_for_no_nccl() {
  try {
    nccl_library();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

std::string nccl_version() {
  if (!reason_for_no_nccl().empty()) return "";
  int version = 0;
  check_nccl(nccl_library().get_version(&version));
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::unique_ptr<DeviceTransport> make_nccl_transport(Communicator& communicator, const Backend& backend,
                                                     Device& device) {
  together(communicator, [&] {
    if (device.is_emulated()) throw InvalidInput("NCCL is for GPUs; this device is emulated");
    const std::string reason = reason_for_no_nccl();
    if (!reason.empty()) throw InvalidInput(reason);
  });
  auto carrier = NcclGroups::make(communicator, static_cast<int>(device.number()));
  return make_grouped_transport(communicator, device, std::move(carrier),
                                backend.make_transport(communicator));
}

}  // namespace moewe
