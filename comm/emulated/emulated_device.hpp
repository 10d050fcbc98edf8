#pragma once

#include <memory>

#include "comm/device.hpp"

namespace moewe {

/// A device in host memory: kernels' host twins run in order on a thread of each queue, so that what is not
/// ordered shows, to sanitizers at least. Memory is shared between processes as memory files.
std::unique_ptr<Device> make_emulated_device();

}  // namespace moewe
