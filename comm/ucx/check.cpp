#include "comm/ucx/check.hpp"

#include <fmt/format.h>

#include "comm/error.hpp"
#include "comm/log.hpp"

namespace moewe {

void check_ucx(ucs_status_t status, std::source_location where) {
  if (status == UCS_OK) return;
  throw Error(ErrorKind::communication, fmt::format("UCX reported '{}' ({}:{})", ucs_status_string(status),
                                                    where.file_name(), where.line()));
}

void report_ucx(std::string_view what, const std::exception& error) noexcept {
  try {
    log(LogLevel::warning, fmt::format("{}: {}", what, error.what()));
  } catch (...) {
    return;
  }
}

}  // namespace moewe
