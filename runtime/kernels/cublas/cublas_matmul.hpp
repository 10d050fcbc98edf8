#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "runtime/kernels/multiply_groups.hpp"

namespace moewe {

/// What NVIDIA recommends for the newest of the GPUs that kernels are compiled for.
inline constexpr std::size_t cublas_workspace_bytes = std::size_t{32} << 20U;

/// Why cuBLAS cannot be used here: not compiled in, or it cannot be loaded; empty if it can. Local.
std::string reason_for_no_cublas();

/// Of the cuBLAS that is loaded, such as "13.1"; empty where there is none.
std::string cublas_version();

/// cuBLAS's grouped matmuls on a GPU, with that workspace, which outlives it. Throws Error(communication)
/// that names what cuBLAS says.
std::unique_ptr<GroupedMatmul> make_cublas_matmul(int device, std::byte* workspace);

}  // namespace moewe
