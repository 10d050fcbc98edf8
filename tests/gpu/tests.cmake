# The bodies of kernels as C++ for the host, with what they use of CUDA from tensor_core_on_host.hpp, beside their twins. Threads
# are contexts, which sanitizers do not follow.
file(GLOB kernel_bodies "${PROJECT_SOURCE_DIR}/runtime/kernels/*.cu")
list(TRANSFORM kernel_bodies REPLACE "\\.cu$" ".cpp" OUTPUT_VARIABLE kernel_twins)
set_source_files_properties(${kernel_bodies} PROPERTIES LANGUAGE CXX SKIP_PRECOMPILE_HEADERS ON
  COMPILE_OPTIONS "-include;${PROJECT_SOURCE_DIR}/tests/gpu/tensor_core_on_host.hpp;-ffp-contract=off;-Wno-pedantic;-Wno-unknown-pragmas")
set_source_files_properties(${kernel_twins} PROPERTIES COMPILE_DEFINITIONS MOEWE_HAS_CUDA COMPILE_OPTIONS -ffp-contract=off
  SKIP_PRECOMPILE_HEADERS ON)
moewe_add_test(kernel_bodies_test SOURCES gpu/kernel_bodies_test.cpp gpu/kernels_on_host.cpp ${kernel_bodies} ${kernel_twins}
  USES moewe::comm LABELS once)

# What devices do beside kernels, some of it with a second process.
add_executable(device_checks gpu/device_checks_main.cpp gpu/device_checks.cpp gpu/second_process.cpp)
target_link_libraries(device_checks PRIVATE moewe::comm moewe_build_flags)
add_test(NAME device_checks.emulated COMMAND device_checks --emulated)
moewe_set_test_properties(device_checks.emulated 60 threads)
add_test(NAME gpu_run_script COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/gpu/run_test.sh)
moewe_set_test_properties(gpu_run_script 60 house)

# Labelled gpu: on a GPU, or skipped with the reason why there is none. Streams that share one of a GPU's queues would wait
# for one another's flags, so there are to be more queues than ranks; and what loads a kernel may wait for all streams.
function(moewe_run_on_gpu name labels)
  add_test(NAME ${name} COMMAND ${ARGN})
  moewe_set_test_properties(${name} 120 "gpu;${labels}")
  set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT MOEWE_TEST_DEVICE=gpu CUDA_DEVICE_MAX_CONNECTIONS=32
    CUDA_MODULE_LOADING=EAGER)
  set_tests_properties(${name} PROPERTIES SKIP_REGULAR_EXPRESSION "no GPU" RESOURCE_LOCK gpu)
endfunction()
moewe_run_on_gpu(device_test.gpu "" device_test)
moewe_run_on_gpu(contracts_device.gpu "" contracts_loopback --gtest_filter=Device*)
moewe_run_on_gpu(contracts_device.gpu.3ranks mpi ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} 3 ${MOEWE_MPIEXEC_FLAGS}
  $<TARGET_FILE:contracts_mpi> --gtest_filter=Device*)
if(MOEWE_HAS_CUDA AND NOT MOEWE_SANITIZE)
  add_executable(kernels_on_gpu gpu/kernels_on_gpu.cpp gpu/kernel_rates.cpp gpu/matmul_rates.cpp gpu/step_rates.cpp gpu/grouped_rates.cpp gpu/dense_rate.cpp)
  target_link_libraries(kernels_on_gpu PRIVATE moewe::runtime moewe_build_flags)
  add_test(NAME kernels.gpu COMMAND kernels_on_gpu)
else()
  add_test(NAME kernels.gpu COMMAND ${CMAKE_COMMAND} -E echo "[  SKIPPED ] all: this build is without CUDA")
endif()
moewe_set_test_properties(kernels.gpu 120 gpu)
add_test(NAME device_checks.gpu COMMAND device_checks)
moewe_set_test_properties(device_checks.gpu 120 gpu)
set_tests_properties(kernels.gpu device_checks.gpu PROPERTIES RESOURCE_LOCK gpu)
