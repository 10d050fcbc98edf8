#include "launch/environment.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fmt/format.h>
#include <memory>
#include <mpi.h>

#include "comm/loopback/run_ranks.hpp"
#include "comm/mpi/check.hpp"
#include "comm/mpi/mpi_backend.hpp"
#include "comm/together.hpp"
#include "launch/console.hpp"
#include "launch/deadline.hpp"
#include "launch/exit_code.hpp"
#include "launch/kept_notice.hpp"
#include "launch/launcher.hpp"
#include "launch/state_signal.hpp"
#include "launch/watchdog.hpp"
#include "runtime/unfinished_file.hpp"

namespace moewe {
namespace {

/// A rank that holds up the others may never come back to be ended.
[[noreturn]] void end_process() {
  remove_unfinished_files();
  tell_kept();
  std::_Exit(static_cast<int>(ExitCode::watchdog));
}

/// One rank after the other gives up, the first one for all: Open MPI's mpirun may crash or hang where
/// several leave at once before MPI has ended.
std::chrono::duration<double> turn_to_give_up() {
  constexpr std::uint64_t last_turn = 20;
  return std::chrono::milliseconds(500) * std::min(find_launcher_rank().value_or(0), last_turn);
}

/// MPI from start to end of the process. Both wait for all ranks, at most for `timeout` and a turn.
class MpiSession {
 public:
  explicit MpiSession(std::chrono::duration<double> timeout) : timeout_(timeout) {
    const Deadline deadline(timeout_ + turn_to_give_up(),
                            [this] { give_up("the other ranks have not all started MPI"); });
    int provided = MPI_THREAD_SINGLE;
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided));
    if (provided < MPI_THREAD_FUNNELED) {
      throw InvalidInput("this MPI cannot be used by a process with threads (MPI_THREAD_FUNNELED)");
    }
  }
  ~MpiSession() {
    const Deadline deadline(timeout_ + turn_to_give_up(),
                            [this] { give_up("the other ranks have not all ended MPI"); });
    report_mpi(MPI_Finalize());
  }
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  /// Ends all ranks at once.
  [[noreturn]] static void abort(ExitCode code) {
    remove_unfinished_files();
    tell_kept();
    std::fflush(nullptr);
    MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
    std::_Exit(static_cast<int>(code));
  }

 private:
  /// MPI cannot be asked for anything now; the launcher ends the other ranks.
  [[noreturn]] void give_up(const char* what) const {
    print_error(fmt::format("rank {} on {} has waited for {:g} s: {}", find_launcher_rank().value_or(0),
                            host_name(), timeout_.count(), what));
    end_process();
  }

  std::chrono::duration<double> timeout_;
};

void print_lines(const std::string& lines) { std::fputs(lines.c_str(), stderr); }

/// Watches over this rank of an MPI job, and answers SIGUSR1.
class MpiWatch {
 public:
  /// Collective.
  explicit MpiWatch(Communicator& communicator)
      : board_(StatusBoard::of_node(communicator)),
        mailbox_(is_alone(communicator) ? nullptr : make_mpi_mailbox(communicator)),
        watchdog_(communicator, *board_, mailbox_.get(), actions_),
        signal_([this] { tell_states(*board_, host_name(), actions_); }) {}

 private:
  /// Collective. Whether every rank of the job is on one board.
  bool is_alone(Communicator& communicator) const {
    std::array<std::int64_t, 1> fewest{static_cast<std::int64_t>(board_->num_ranks())};
    communicator.all_reduce({.sums = {}, .minima = fewest, .maxima = {}});
    return fewest[0] == static_cast<std::int64_t>(communicator.size());
  }

  std::unique_ptr<StatusBoard> board_;
  std::unique_ptr<Mailbox> mailbox_;
  WatchdogActions actions_{print_lines, [this] { board_->signal_processes(SIGUSR1); },
                           [] { MpiSession::abort(ExitCode::watchdog); }};
  Watchdog watchdog_;
  StateSignal signal_;
};

int run_as_mpi_rank(double timeout_s, const std::function<void(Communicator&, const Backend&)>& work) {
  const std::chrono::duration<double> timeout(timeout_s);
  const MpiSession session(timeout);
  bool is_first = true;  // of those that print what is shared
  try {
    const auto communicator = make_mpi_communicator(MPI_COMM_WORLD, timeout);
    is_first = communicator->rank() == Rank{0};
    const MpiWatch watch(*communicator);
    work(*communicator, mpi_backend());
  } catch (...) {
    const std::exception_ptr failure = std::current_exception();
    const ExitCode code = exit_code_for(kind_of(failure));
    const bool shared = is_shared(failure);
    if (!shared || is_first) print_error(text_of(failure));
    tell_kept();
    if (!shared) MpiSession::abort(code);
    return static_cast<int>(code);
  }
  return static_cast<int>(ExitCode::done);
}

int run_as_threads(std::size_t num_ranks, double timeout_s,
                   const std::function<void(Communicator&, const Backend&)>& work) {
  try {
    StatusBoard board(num_ranks);
    const WatchdogActions actions{print_lines, [] {}, end_process};
    const StateSignal signal([&] { tell_states(board, host_name(), actions); });
    run_ranks(num_ranks, std::chrono::duration<double>(timeout_s), [&](Communicator& communicator) {
      const Watchdog watchdog(communicator, board, nullptr, actions);
      work(communicator, loopback_backend());
    });
  } catch (...) {
    print_error(text_of(std::current_exception()));
    tell_kept();
    return static_cast<int>(exit_code_for(kind_of(std::current_exception())));
  }
  return static_cast<int>(ExitCode::done);
}

}  // namespace

void end_mpi_job(ErrorKind kind, const std::string& what) {
  if (!started_by_launcher()) return;
  print_error(what);
  MpiSession::abort(exit_code_for(kind));
}

int run_job(std::optional<std::size_t> thread_ranks, double timeout_s,
            const std::function<void(Communicator&, const Backend&)>& work) {
  if (!started_by_launcher()) return run_as_threads(thread_ranks.value_or(1), timeout_s, work);
  return run_as_mpi_rank(timeout_s, [&](Communicator& communicator, const Backend& backend) {
    together(communicator, [&] {
      if (thread_ranks)
        throw InvalidInput("--ranks is for threads of one process; the launcher has set the number of ranks");
    });
    work(communicator, backend);
  });
}

}  // namespace moewe
