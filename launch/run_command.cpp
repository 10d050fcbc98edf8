#include "launch/run_command.hpp"

#include <exception>
#include <fmt/format.h>

#include "comm/together.hpp"
#include "launch/console.hpp"
#include "launch/environment.hpp"
#include "launch/exit_code.hpp"
#include "launch/graceful_end.hpp"
#include "launch/launcher.hpp"
#include "launch/options.hpp"
#include "launch/run_rank.hpp"

namespace moewe {

int run_command(const std::vector<std::string>& arguments) {
  RunOptions options;
  std::exception_ptr bad_options;
  try {
    options = parse_run_options(arguments);
  } catch (const InvalidInput&) {
    bad_options = std::current_exception();
  }
  if (options.help) {
    if (is_first_process()) print_text(run_help());
    return static_cast<int>(ExitCode::done);
  }
  const int code =
      run_job(options.ranks, options.timeout_s, [&](Communicator& communicator, const Backend& backend) {
        throw_together(communicator, bad_options);
        run_rank(communicator, backend, options);
      });
  const bool is_cut_short = has_ended_gracefully() && code == static_cast<int>(ExitCode::done);
  return is_cut_short ? static_cast<int>(ExitCode::terminated) : code;
}

}  // namespace moewe
