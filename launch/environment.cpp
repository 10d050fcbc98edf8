#include "launch/environment.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fmt/format.h>
#include <hwloc.h>
#include <memory>
#include <mpi.h>
#include <system_error>
#include <unistd.h>

#include "comm/loopback/run_ranks.hpp"
#include "comm/mpi/check.hpp"
#include "comm/mpi/mpi_backend.hpp"
#include "comm/together.hpp"
#include "launch/deadline.hpp"
#include "launch/kept_notice.hpp"
#include "launch/option_values.hpp"
#include "launch/state_signal.hpp"
#include "launch/watchdog.hpp"
#include "runtime/unfinished_file.hpp"

namespace moewe {
namespace {

/// Variables that a launcher sets together.
struct LauncherVariables {
  const char* rank;
  const char* job;
};

/// What Open MPI, Slurm with PMIx or PMI-2, and MPICH's launchers tell a rank before MPI starts.
constexpr std::array<LauncherVariables, 3> launchers{{{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                                      {"PMIX_RANK", "PMIX_NAMESPACE"},
                                                      {"PMI_RANK", "PMI_SIZE"}}};

/// A rank that is told without its job was left over from something else, and counts as none.
std::optional<std::uint64_t> find_launcher_rank() {
  for (const auto& [rank, job] : launchers) {
    const char* value = std::getenv(rank);
    if (value != nullptr && std::getenv(job) != nullptr) return parse_number(value);
  }
  return std::nullopt;
}

/// One line of bounded length, whatever names and values it quotes.
std::string printable(const std::string& what) {
  constexpr std::size_t max_length = 1000;
  std::string line;
  for (const char c : what.substr(0, max_length)) {
    const bool is_control = static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
    line += is_control ? fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)))
                       : std::string(1, c);
  }
  return what.size() > max_length ? line + " ..." : line;
}

void print_error(const std::string& what) {
  std::fflush(stdout);
  std::fputs(fmt::format("moewe: {}\n", printable(what)).c_str(), stderr);  // throws nothing where it cannot
}

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

bool started_by_launcher() { return find_launcher_rank().has_value(); }

bool is_first_process() { return find_launcher_rank().value_or(0) == 0; }

void print_text(const std::string& text) {
  const bool is_written = std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  if (!is_written) throw InvalidInput("standard output cannot be written");
}

bool is_watched() {
  if (isatty(STDOUT_FILENO) == 0) return false;
  if (!started_by_launcher()) return true;
  std::error_code failure;
  const auto output = std::filesystem::read_symlink(fmt::format("/proc/{}/fd/1", getppid()), failure);
  return !failure &&
         (output.string().rfind("/dev/pts/", 0) == 0 || output.string().rfind("/dev/tty", 0) == 0);
}

std::size_t default_threads(std::size_t ranks_on_node) {
  const char* text = std::getenv("OMP_NUM_THREADS");
  if (text == nullptr || *text == '\0') return cores_of_rank(ranks_on_node);
  const std::string outermost(text, std::strcspn(text, ","));  // a list is of nested levels
  const auto number = parse_number(outermost);
  if (number && *number >= 1 && *number <= max_threads) return *number;
  throw InvalidInput(fmt::format(
      "OMP_NUM_THREADS must be a whole number from 1 to {}, not '{}', unless --threads N is given",
      max_threads, text));
}

std::size_t cores_of_rank(std::size_t ranks_on_node) {
  hwloc_topology_t machine = nullptr;
  if (hwloc_topology_init(&machine) != 0) return 1;
  const std::unique_ptr<hwloc_topology, decltype(&hwloc_topology_destroy)> owner(machine,
                                                                                 hwloc_topology_destroy);
  if (hwloc_topology_load(machine) != 0) return 1;
  const int num_cores = hwloc_get_nbobjs_by_type(machine, HWLOC_OBJ_CORE);
  int num_bound = num_cores;
  const std::unique_ptr<hwloc_bitmap_s, decltype(&hwloc_bitmap_free)> bound(hwloc_bitmap_alloc(),
                                                                            hwloc_bitmap_free);
  if (hwloc_get_cpubind(machine, bound.get(), HWLOC_CPUBIND_PROCESS) == 0) {
    num_bound = hwloc_get_nbobjs_inside_cpuset_by_type(machine, bound.get(), HWLOC_OBJ_CORE);
  }
  return static_cast<std::size_t>(
      std::max(1, std::min(num_bound, num_cores / static_cast<int>(ranks_on_node))));
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
