#pragma once

#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/mailbox.hpp"
#include "comm/shm/status_board.hpp"

namespace moewe {

/// What a watchdog does to the world. All of it may be called from any thread.
struct WatchdogActions {
  std::function<void(const std::string&)> print;  ///< whole lines, to standard error
  std::function<void()> wake;                     ///< the processes of the board, once the alarm is raised
  std::function<void()> end;  ///< the job, with exit code 3; every rank calls it at last, and it may return
};

/// Says where the ranks of this process are: a line each. Once the alarm of the board is raised, for the
/// ranks that have not said it yet; before, for all, with a matrix of the whole board from one of its
/// processes.
void tell_states(StatusBoard& board, const std::string& host, const WatchdogActions& actions);

/// Watches over the waits of one rank as long as it lives. When the first deadline of any rank passes, all
/// ranks learn of it: by the board that they share, or, beyond it, by letters. Every rank says where it is;
/// then one of them prints who waits for whom and who holds up all, and ends the job. All within a second.
class Watchdog : public Watch {
 public:
  /// Collective. Borrows everything; without `mailbox` all ranks are on the board.
  Watchdog(Communicator& communicator, StatusBoard& board, Mailbox* mailbox, WatchdogActions actions);
  ~Watchdog() override;
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  RankStatus& status() override { return status_; }
  WaitTally& tally() override { return tally_; }
  bool is_over(std::chrono::steady_clock::time_point now) override;
  void report(const std::string& missing) override;

 private:
  void post_own_board();
  void take_letters();
  void add_own_board();
  bool knows_all() const;
  void collect();
  bool is_first_to_answer() const;
  void end_with_report() const;

  Communicator& communicator_;
  StatusBoard& board_;
  Mailbox* mailbox_;
  WatchdogActions actions_;
  RankStatus& status_;
  WaitTally tally_;
  std::vector<RankState> states_;  // of all ranks; silent where nothing is known
  std::chrono::steady_clock::time_point last_look_{};
};

/// The name of this machine.
std::string host_name();

}  // namespace moewe
