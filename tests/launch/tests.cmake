# Tests of the program's parts, and of the program as people run it.
moewe_add_test(cost_file_test SOURCES launch/cost_file_test.cpp USES moewe_launch)
moewe_add_test(exchange_choice_test SOURCES launch/exchange_choice_test.cpp USES moewe_launch)
moewe_add_test(forced_routing_test SOURCES launch/forced_routing_test.cpp USES moewe_launch)
moewe_add_test(graceful_end_test SOURCES launch/graceful_end_test.cpp USES moewe_launch)
moewe_add_test(kept_file_test SOURCES launch/kept_file_test.cpp USES moewe_launch moewe_test_program)
moewe_add_test(link_cache_test SOURCES launch/link_cache_test.cpp USES moewe_launch)
moewe_add_test(load_file_test SOURCES launch/load_file_test.cpp USES moewe_launch)
moewe_add_test(load_recorder_test SOURCES launch/load_recorder_test.cpp USES moewe_launch LABELS threads)
moewe_add_test(place_options_test SOURCES launch/place_options_test.cpp USES moewe_launch)
moewe_add_test(placement_map_test SOURCES launch/placement_map_test.cpp USES moewe_launch)
moewe_add_test(rebalancing_test SOURCES launch/rebalancing_test.cpp USES moewe_launch LABELS threads)
moewe_add_test(rebalance_meter_test SOURCES launch/rebalance_meter_test.cpp USES moewe_launch)
moewe_add_test(options_test SOURCES launch/options_test.cpp USES moewe_launch)
moewe_add_test(timeline_test SOURCES launch/timeline_test.cpp USES moewe_launch)
moewe_add_test(trace_test SOURCES launch/trace_test.cpp USES moewe_launch)
moewe_add_test(recorded_test SOURCES launch/recorded_test.cpp USES moewe_launch LABELS threads)
moewe_add_test(slow_rank_test SOURCES launch/slow_rank_test.cpp USES moewe_launch LABELS threads)
moewe_add_test(wait_report_test SOURCES launch/wait_report_test.cpp USES moewe_launch)
moewe_add_test(watchdog_test SOURCES launch/watchdog_test.cpp USES moewe_launch LABELS threads)
moewe_add_test(migration_budget_test SOURCES launch/migration_budget_test.cpp USES moewe_launch LABELS threads)
moewe_add_test(run_parts_test SOURCES launch/run_parts_test.cpp USES moewe_launch)
moewe_add_test(run_device_test SOURCES launch/run_device_test.cpp USES moewe_launch LABELS once)
moewe_add_test(run_plan_test SOURCES launch/run_plan_test.cpp USES moewe_launch)
moewe_add_test(run_totals_test SOURCES launch/run_totals_test.cpp USES moewe_launch LABELS threads)

add_library(moewe_test_interposer SHARED support/memory_interposer.cpp support/mpi_interposer.cpp)
target_link_libraries(moewe_test_interposer PRIVATE MPI::MPI_C ${CMAKE_DL_LIBS} moewe_build_flags)
target_compile_definitions(moewe_test_interposer PRIVATE OMPI_SKIP_MPICXX)
add_library(moewe_test_program STATIC support/program.cpp support/tensor_files.cpp)
target_link_libraries(moewe_test_program PUBLIC moewe::runtime nlohmann_json::nlohmann_json fmt::fmt GTest::gtest PRIVATE moewe_build_flags)
moewe_add_test_headers(moewe_program_test_headers LIBRARIES nlohmann_json::nlohmann_json HEADERS <nlohmann/json.hpp>
  OPTIMIZE -O0)  # they start processes, and wait
foreach(subject IN ITEMS "" _avx2 _bench _calibration _capacity _carrier _checkpoint _device _failures _files _hash _history _input _memory _overlap _place _rebalance _refusal _resume
    _routing _shared_memory _slow _timeline _watchdog _wire)
  if((MOEWE_SANITIZE OR MOEWE_COVERAGE) AND NOT subject MATCHES "^(|_checkpoint|_failures)$")
    continue()  # slow, and no other code than that of quicker tests
  endif()
  moewe_add_test(program${subject}_test SOURCES launch/program${subject}_test.cpp USES moewe_test_program HEADERS moewe_program_test_headers
    LABELS program mpi TIMEOUT 300)
  set_property(TEST program${subject}_test APPEND PROPERTY ENVIRONMENT MOEWE_INTERPOSER=$<TARGET_FILE:moewe_test_interposer>)
endforeach()
if(TEST program_watchdog_test)  # long, and mostly wait: begun beside the contracts, which compute
  set_tests_properties(program_watchdog_test program_resume_test PROPERTIES COST 900)
  set_tests_properties(program_refusal_test PROPERTIES COST 890)
endif()
foreach(test IN ITEMS program_history_test program_place_test)
  if(TARGET ${test})
    target_link_libraries(${test} PRIVATE moewe_launch)
  endif()
endforeach()

moewe_add_test(overlap_nodes_test SOURCES launch/overlap_nodes_test.cpp USES moewe_launch moewe_test_program LABELS threads TIMEOUT 300)

# Several hosts, where this machine can make them up.
if(NOT MOEWE_SANITIZE AND NOT MOEWE_COVERAGE)
  moewe_add_test(virtual_cluster_test SOURCES virtual_cluster/virtual_cluster_test.cpp virtual_cluster/migration_test.cpp USES moewe_test_program HEADERS moewe_program_test_headers
    LABELS program mpi cluster TIMEOUT 300)
  set_tests_properties(virtual_cluster_test PROPERTIES RESOURCE_LOCK virtual_cluster SKIP_RETURN_CODE 77
    COST 1000)  # the same, for links
endif()

if(NOT MOEWE_SANITIZE AND NOT MOEWE_COVERAGE)
  add_test(NAME install COMMAND ${CMAKE_COMMAND} -D BUILD_DIR=${PROJECT_BINARY_DIR} -D SOURCE_DIR=${PROJECT_SOURCE_DIR}
    -D WORK_DIR=${CMAKE_CURRENT_BINARY_DIR}/install -D MPIEXEC=${MPIEXEC_EXECUTABLE} -P ${CMAKE_CURRENT_SOURCE_DIR}/check_install.cmake)
  set_tests_properties(install PROPERTIES LABELS house TIMEOUT 200 ENVIRONMENT "${MOEWE_MPI_ENVIRONMENT}")
endif()
