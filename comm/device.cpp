#include "comm/device.hpp"

#include "comm/cuda/cuda_device.hpp"
#include "comm/emulated/emulated_device.hpp"

namespace moewe {

DeviceOffer choose_device(DeviceChoice choice, std::size_t rank_on_node) {
  if (choice == DeviceChoice::cpu) return {make_emulated_device(), ""};
  DeviceOffer gpu = offer_gpu(rank_on_node);
  if (gpu.device || choice == DeviceChoice::gpu) return gpu;
  return {make_emulated_device(), gpu.reason_for_none};
}

}  // namespace moewe
