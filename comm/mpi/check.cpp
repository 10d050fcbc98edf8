#include "comm/mpi/check.hpp"

#include <array>
#include <fmt/format.h>
#include <mpi.h>
#include <string>

#include "comm/error.hpp"
#include "comm/log.hpp"

namespace moewe {
namespace {

std::string describe(int code, const std::source_location& where) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  return fmt::format("MPI reported '{}' ({}:{})",
                     std::string_view(text.data(), static_cast<std::size_t>(length)), where.file_name(),
                     where.line());
}

}  // namespace

void check_mpi(int code, std::source_location where) {
  if (code != MPI_SUCCESS) throw Error(ErrorKind::communication, describe(code, where));
}

void report_mpi(int code, std::source_location where) noexcept {
  if (code == MPI_SUCCESS) return;
  try {
    log(LogLevel::warning, describe(code, where));
  } catch (...) {  // a destructor has nobody left to tell
    return;
  }
}

}  // namespace moewe
