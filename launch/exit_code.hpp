#pragma once

#include "comm/error.hpp"

namespace moewe {

/// Exit codes of the program.
enum class ExitCode {
  done = 0,
  failed = 1,
  bad_input = 2,
  watchdog = 3,
  terminated = 143  ///< by SIGTERM, after a step: as shells say it of a process that ends at once
};

ExitCode exit_code_for(ErrorKind kind);

}  // namespace moewe
