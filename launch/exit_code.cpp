#include "launch/exit_code.hpp"

namespace moewe {

ExitCode exit_code_for(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::invalid_input:
    case ErrorKind::disagreement:
      return ExitCode::bad_input;
    case ErrorKind::timeout:
      return ExitCode::watchdog;
    default:
      return ExitCode::failed;
  }
}

}  // namespace moewe
