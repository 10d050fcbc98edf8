# moewe_add_test_headers(NAME LIBRARIES library ... HEADERS header ... [OPTIMIZE option]): what tests include, parsed once.
# The tests' own code is not what takes time: in Release it is compiled with -O1, or OPTIMIZE.
function(moewe_add_test_headers name)
  cmake_parse_arguments(arg "" "OPTIMIZE" "LIBRARIES;HEADERS" ${ARGN})
  if(NOT arg_OPTIMIZE)
    set(arg_OPTIMIZE -O1)
  endif()
  add_executable(${name} ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/test_headers.cpp)
  target_link_libraries(${name} PRIVATE moewe_build_flags GTest::gtest fmt::fmt MPI::MPI_C ${arg_LIBRARIES})
  target_compile_features(${name} PRIVATE cxx_std_20)
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:${arg_OPTIMIZE}>)
  target_precompile_headers(${name} PRIVATE <gtest/gtest.h> <fmt/format.h> ${arg_HEADERS})
endfunction()
moewe_add_test_headers(moewe_test_headers)

# moewe_add_test(NAME SOURCES ... USES library ... [RANKS n ...] [ARGS argument ...] [LABELS label ...] [TIMEOUT seconds]
#   [HEADERS target])
#
# HEADERS precompiles what is included; moewe_test_headers unless given.
#
# Without RANKS: a plain program with GoogleTest's main. With RANKS: one MPI program, and a test NAME.Nranks for each
# number of ranks, oversubscribed where there are fewer cores. Run with ARGS. What is labelled `once` is not built with
# sanitizers: other tests run the same code there.
function(moewe_add_test name)
  cmake_parse_arguments(arg "" "TIMEOUT;HEADERS" "SOURCES;USES;RANKS;ARGS;LABELS" ${ARGN})
  if(MOEWE_SANITIZE AND "once" IN_LIST arg_LABELS)
    return()
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  if(MOEWE_SANITIZE OR MOEWE_COVERAGE)
    math(EXPR arg_TIMEOUT "${arg_TIMEOUT} * 4")
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_USES} moewe_build_flags GTest::gtest fmt::fmt)
  if(NOT arg_HEADERS)
    set(arg_HEADERS moewe_test_headers)
  endif()
  get_target_property(options ${arg_HEADERS} COMPILE_OPTIONS)
  target_compile_options(${name} PRIVATE ${options})
  target_precompile_headers(${name} REUSE_FROM ${arg_HEADERS})
  if(arg_RANKS)
    target_link_libraries(${name} PRIVATE moewe_test_mpi)
    foreach(ranks IN LISTS arg_RANKS)
      add_test(NAME ${name}.${ranks}ranks
        COMMAND ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${ranks} ${MOEWE_MPIEXEC_FLAGS} $<TARGET_FILE:${name}> ${arg_ARGS})
      moewe_set_test_properties(${name}.${ranks}ranks ${arg_TIMEOUT} "mpi;ranks-${ranks};${arg_LABELS}")
    endforeach()
  else()
    target_link_libraries(${name} PRIVATE GTest::gtest_main)
    add_test(NAME ${name} COMMAND ${name} ${arg_ARGS})
    moewe_set_test_properties(${name} ${arg_TIMEOUT} "unit;${arg_LABELS}")
  endif()
endfunction()

# Open MPI refuses root and more ranks than cores unless asked, version 5 (PRTE) in other words than version 4; its plug-ins leak, and cannot be named in a
# suppression because they are unloaded before the report. So leaks are looked for in tests without MPI.
set(MOEWE_MPI_ENVIRONMENT
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
  PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe PRTE_MCA_hwloc_default_binding_policy=none)
set(MOEWE_MPIEXEC_FLAGS ${MPIEXEC_PREFLAGS})

function(moewe_set_test_properties test timeout labels)
  list(REMOVE_ITEM labels "")
  set(environment ${MOEWE_MPI_ENVIRONMENT} MOEWE_SOURCE_DIR=${PROJECT_SOURCE_DIR}
    MOEWE_MPIEXEC=${MPIEXEC_EXECUTABLE} OMP_NUM_THREADS=1 MOEWE_CACHE_DIR=${PROJECT_BINARY_DIR}/test_cache
    TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/support/tsan.supp:halt_on_error=1:allocator_may_return_null=1)
  if(TARGET moewe)
    list(APPEND environment MOEWE_PROGRAM=$<TARGET_FILE:moewe>)
  endif()
  if("mpi" IN_LIST labels)
    list(APPEND environment ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=0)
  else()
    list(APPEND environment ASAN_OPTIONS=allocator_may_return_null=1)
  endif()
  if(MOEWE_SANITIZE STREQUAL thread)  # crashes in UCX's watch over memory where a thread ends
    list(APPEND environment UCX_MEM_EVENTS=n)
  endif()
  set_tests_properties(${test} PROPERTIES TIMEOUT ${timeout} LABELS "${labels}" ENVIRONMENT "${environment}"
    SKIP_REGULAR_EXPRESSION "\\[  SKIPPED \\] all")
endfunction()
