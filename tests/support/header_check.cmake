# Compiles headers of the project alone, so that none relies on what happens to be included before it: those without a
# source of their own, which would include them first (check_own_headers.cmake).
file(GLOB_RECURSE headers RELATIVE "${PROJECT_SOURCE_DIR}"
  "${PROJECT_SOURCE_DIR}/comm/*.hpp" "${PROJECT_SOURCE_DIR}/placement/*.hpp"
  "${PROJECT_SOURCE_DIR}/runtime/*.hpp" "${PROJECT_SOURCE_DIR}/launch/*.hpp")
if(NOT MOEWE_HAS_UCX)
  list(FILTER headers EXCLUDE REGEX "^comm/ucx/(check|ucx_request|ucx_worker)")
endif()
set(sources "")
foreach(header IN LISTS headers)
  string(REGEX REPLACE "\\.hpp$" ".cpp" own_source "${header}")
  if(EXISTS "${PROJECT_SOURCE_DIR}/${own_source}")
    continue()
  endif()
  string(MAKE_C_IDENTIFIER "${header}" name)
  set(source "${CMAKE_CURRENT_BINARY_DIR}/header_check/${name}.cpp")
  file(CONFIGURE OUTPUT "${source}" CONTENT "#include \"@header@\"  // NOLINT\n" @ONLY)
  list(APPEND sources "${source}")
endforeach()
add_library(moewe_header_check OBJECT ${sources})
target_link_libraries(moewe_header_check PRIVATE moewe::runtime moewe_build_flags MPI::MPI_C OneDNN::OneDNN
  OpenMP::OpenMP_CXX nlohmann_json::nlohmann_json)
if(MOEWE_HAS_UCX)
  target_link_libraries(moewe_header_check PRIVATE PkgConfig::ucx)
endif()
