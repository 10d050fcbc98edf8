# The bodies of kernels as C++ for the host, with what they use of CUDA from kernels_on_host.hpp, beside their twins. Threads
# are contexts, which sanitizers do not follow.
file(GLOB kernel_bodies "${PROJECT_SOURCE_DIR}/runtime/kernels/*.cu")
list(TRANSFORM kernel_bodies REPLACE "\\.cu$" ".cpp" OUTPUT_VARIABLE kernel_twins)
set_source_files_properties(${kernel_bodies} PROPERTIES LANGUAGE CXX SKIP_PRECOMPILE_HEADERS ON
  COMPILE_OPTIONS "-include;${PROJECT_SOURCE_DIR}/tests/gpu/kernels_on_host.hpp;-ffp-contract=off;-Wno-pedantic;-Wno-unknown-pragmas")
set_source_files_properties(${kernel_twins} PROPERTIES COMPILE_DEFINITIONS MOEWE_HAS_CUDA COMPILE_OPTIONS -ffp-contract=off
  SKIP_PRECOMPILE_HEADERS ON)
moewe_add_test(kernel_bodies_test SOURCES gpu/kernel_bodies_test.cpp gpu/kernels_on_host.cpp ${kernel_bodies} ${kernel_twins}
  USES moewe::comm LABELS once)
