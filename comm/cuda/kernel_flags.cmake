# moewe_kernel_flags: what kernels are compiled with. Products and sums are rounded on their own, as on the host, so that
# the bits agree; constexpr functions of the host serve GPUs too.
add_library(moewe_kernel_flags INTERFACE)
target_compile_options(moewe_kernel_flags INTERFACE
  --fmad=false --expt-relaxed-constexpr -Xcompiler=-Wall,-Wextra,-Wshadow,-ffp-contract=off
  $<$<BOOL:${MOEWE_WERROR}>:-Xcompiler=-Werror --Werror=all-warnings>)

# Older versions of CMake do not know that nvcc has C++20.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
