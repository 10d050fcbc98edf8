#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>

#include "comm/communicator.hpp"
#include "comm/device.hpp"

namespace moewe {

struct RunOptions;

/// What layers are asked to run on.
enum class DeviceRequest {
  automatic,  ///< a GPU for each rank, where there are some and the run can be on them; else cores
  cpu,        ///< cores
  gpu,
  emulated,  ///< what runs on GPUs, on a thread beside each rank
};

/// How steps are started on devices.
enum class DeviceMode {
  eager,  ///< work by work, once the ranks have agreed on sizes
  graph,  ///< one launch for a step, with sizes that the devices know alone
};

constexpr const char* name_of(DeviceMode mode) { return mode == DeviceMode::eager ? "eager" : "graph"; }

/// What the layers of a run are on: this rank's device, or, without one, its cores. Of one kind on all ranks.
struct RunDevice {
  std::unique_ptr<Device> device;
  std::string reason;  ///< for people: why this kind

  /// "cpu", "gpu" or "emulated".
  const char* kind() const;
};

/// Why a run with these options is not on devices so far, as they would be typed; or empty.
std::string reason_against_devices(const RunOptions& options);

/// Throws InvalidInput for a run that cannot be on the device that it names.
void check_device(const RunOptions& options);

/// Where a rank's GPU is on its node (Device::bus_id); empty for none. Travels as it is.
using GpuPlace = std::array<char, 32>;

/// Why ranks whose GPUs are there have no messages carried by NCCL, which wants a GPU for each; or empty.
std::string reason_against_nccl(const Topology& topology, std::span<const GpuPlace> gpus);

/// Collective. What each of the ranks that share this rank's device can have of its memory.
std::size_t share_of_device(Communicator& communicator, const Device& device);

/// Collective. Ranks on a node share its GPUs. Throws a shared InvalidInput, with the reason, where what is
/// asked for is not there. A GPU is the calling thread's current one from now on: this program's thread is
/// nobody else's.
RunDevice choose_run_device(Communicator& communicator, const RunOptions& options);

}  // namespace moewe
