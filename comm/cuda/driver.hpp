#pragma once

namespace moewe {

/// A function of CUDA's driver, which is asked for it, so that a program that is linked with CUDA starts
/// without one. Throws Error(communication) where the driver has no such function.
void* driver_function(const char* name);

}  // namespace moewe
