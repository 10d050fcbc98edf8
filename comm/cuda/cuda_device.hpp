#pragma once

#include <cstddef>

#include "comm/device.hpp"

namespace moewe {

/// The GPU for the rank with this number on its node, dealt in turns among those that the process sees; or
/// the reason why there is none: none is seen, it is older than compute capability 8.0, or this build is
/// without CUDA. Local.
DeviceOffer offer_gpu(std::size_t rank_on_node);

}  // namespace moewe
