#include "comm/nccl/check.hpp"

#include <fmt/format.h>

#include "comm/error.hpp"
#include "comm/log.hpp"
#include "comm/nccl/nccl_library.hpp"

namespace moewe {

void check_nccl(ncclResult_t code, std::source_location where) {
  if (code == ncclSuccess || code == ncclInProgress) return;
  const char* const last = nccl_library().get_last_error(nullptr);  // of any communicator
  throw Error(ErrorKind::communication,
              fmt::format("NCCL reported '{}' ({}:{}): {}; NCCL_DEBUG=WARN tells more",
                          nccl_library().get_error_string(code), where.file_name(), where.line(),
                          last == nullptr ? "" : last));
}

void report_nccl(ncclResult_t code, std::source_location where) noexcept {
  try {
    check_nccl(code, where);
  } catch (const std::exception& error) {
    try {
      log(LogLevel::warning, error.what());
    } catch (...) {  // a destructor has nobody left to tell
      return;
    }
  }
}

}  // namespace moewe
