#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <exception>
#include <fcntl.h>
#include <fmt/format.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "comm/together.hpp"
#include "comm/ucx/ucx_transport.hpp"
#include "launch/bench_command.hpp"
#include "launch/console.hpp"
#include "launch/environment.hpp"
#include "launch/exit_code.hpp"
#include "launch/graceful_end.hpp"
#include "launch/kept_notice.hpp"
#include "launch/launcher.hpp"
#include "launch/options.hpp"
#include "launch/place_command.hpp"
#include "launch/run_command.hpp"
#include "launch/state_signal.hpp"
#include "runtime/unfinished_file.hpp"

namespace moewe {
namespace {

struct Command {
  const char* name;
  const char* summary;
  int (*run)(const std::vector<std::string>& arguments);
};

constexpr std::array<Command, 3> commands{{
    {"run", "execute the MoE layers of a model across ranks", run_command},
    {"bench", "measure the token exchange, and what overlap gains", bench_command},
    {"place", "decide which rank holds which experts", place_command},
}};

std::string help() {
  std::string text =
      "moewe: expert-parallel runtime for Mixture-of-Experts layers\n\nUsage: moewe COMMAND [options]\n\n";
  for (const Command& command : commands) text += fmt::format("  {:8}{}\n", command.name, command.summary);
  return text + "\nmoewe COMMAND --help tells about a command, moewe --version the version.\n";
}

/// All ranks take part, so that the sentence comes once, also where only some were given a wrong command.
int reject(const std::string& what) {
  return run_job({}, RunOptions{}.timeout_s, [&](Communicator& communicator, const Backend&) {
    throw_together(communicator, std::make_exception_ptr(InvalidInput(what + "; see moewe --help")));
  });
}

int print(const std::string& text) {
  if (is_first_process()) print_text(text);
  return static_cast<int>(ExitCode::done);
}

/// Does what the signal does anyway, with no unfinished files left. What is kept of a run is so already.
void end_by_signal(int number) {
  remove_unfinished_files();
  tell_kept();
  std::signal(number, SIG_DFL);
  std::raise(number);
}

void end_after_step(int number) {
  if (!put_off_end()) end_by_signal(number);
}

/// SIGTERM was put off, and the step has not ended in time.
void end_at_last(int /*number*/) { end_by_signal(SIGTERM); }

/// Signals that are ignored already, as under nohup, stay so.
void handle(int number, void (*handler)(int)) {
  if (std::signal(number, handler) == SIG_IGN) std::signal(number, SIG_IGN);
}

/// Files that are opened later must not take the places of closed standard streams; a file that grows past
/// its limit or a reader that leaves is an error to be told, not a signal; and a terminal that closes ends
/// what was started there.
void prepare_process() {
  int fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO) fd = open("/dev/null", O_RDWR);
  if (fd >= 0) close(fd);
  for (const int told : {SIGXFSZ, SIGPIPE}) std::signal(told, SIG_IGN);
  release_signals_of_ucx();  // before own handlers take their places
  for (const int ends : {SIGINT, SIGHUP}) handle(ends, end_by_signal);
  handle(SIGTERM, end_after_step);
  std::signal(SIGALRM, end_at_last);
  block_state_signal();  // before MPI starts threads of its own
}

int start(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return reject("a command is missing");
  const std::string& first = arguments[0];
  if (first == "--version") return print("moewe " MOEWE_VERSION "\n");
  if (first == "--help" || first == "-h" || first == "help") return print(help());
  const auto* command = std::find_if(commands.begin(), commands.end(),
                                     [&](const Command& known) { return known.name == arguments[0]; });
  if (command == commands.end()) return reject(fmt::format("'{}' is not a command", arguments[0]));
  return command->run({arguments.begin() + 1, arguments.end()});
}

}  // namespace
}  // namespace moewe

int main(int argc, char** argv) {
  moewe::prepare_process();
  try {
    return moewe::start({argv + 1, argv + argc});
  } catch (const moewe::Error& error) {
    std::fputs(fmt::format("moewe: {}\n", error.what()).c_str(), stderr);
    return static_cast<int>(moewe::exit_code_for(error.kind()));
  } catch (const std::exception& error) {
    std::fputs(fmt::format("moewe: {}\n", error.what()).c_str(), stderr);
    return static_cast<int>(moewe::ExitCode::failed);
  }
}
