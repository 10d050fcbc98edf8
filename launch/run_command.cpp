#include "launch/run_command.hpp"

#include <exception>
#include <fmt/format.h>

#include "comm/together.hpp"
#include "launch/environment.hpp"
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
  return run_job(options.ranks, options.timeout_s, [&](Communicator& communicator, const Backend& backend) {
    throw_together(communicator, bad_options);
    run_rank(communicator, backend, options);
  });
}

}  // namespace moewe
