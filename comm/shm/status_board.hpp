#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/rank_status.hpp"
#include "comm/shm/segment.hpp"

namespace moewe {

/// The statuses of some ranks, and what they tell one another when a deadline has passed. In memory that all
/// of them write to, and that stays there for the others when one is stopped or dies. Any thread may call
/// anything.
///
///   | alarm, claims | rank, process, status | rank, process, status | ...
class StatusBoard {
 public:
  using Clock = RankStatus::Clock;

  /// For ranks 0 to num_ranks - 1, which are threads of this process.
  explicit StatusBoard(std::size_t num_ranks);

  /// Collective. For the ranks of each node a board in common; for each rank its own where they cannot open
  /// one another's memory. Throws a shared Error where there is no memory.
  static std::unique_ptr<StatusBoard> of_node(Communicator& communicator);

  StatusBoard(const StatusBoard&) = delete;
  StatusBoard& operator=(const StatusBoard&) = delete;
  ~StatusBoard();

  /// That the board is for.
  std::size_t num_ranks() const { return ranks_.size(); }

  /// From now on the rank, one of those that the board is for, is seen by the others.
  RankStatus& join(Rank rank);

  /// The rank takes no more part, and holds up whoever waits for it.
  void leave(Rank rank);

  /// What the ranks that have joined do now, in rank order, without their hosts.
  std::vector<RankState> states() const;

  /// Ranks of this process that have joined.
  std::vector<Rank> own_ranks() const;

  /// Sends a signal to every process that has ranks here.
  void signal_processes(int number) const;

  /// A deadline has passed. True the first time.
  bool raise_alarm();
  bool is_raised() const;

  /// Since the alarm was raised.
  std::chrono::duration<double> alarm_age() const;

  // Each of these is true for one caller alone.

  bool claim_line(Rank rank);  ///< to say where the rank is when the deadline has passed
  bool claim_report();         ///< to say who holds up whom
  bool claim_matrix();         ///< the same, without an alarm: for one caller in half a second

 private:
  struct Header;
  struct Entry;

  StatusBoard(std::vector<Rank> ranks, FileDescriptor file, bool is_new);
  static std::size_t bytes_for(std::size_t num_ranks);
  Entry& entry(Rank rank) const;
  void make_entries();

  std::vector<Rank> ranks_;  // in order
  Segment memory_;
  Header* header_ = nullptr;
  Entry* entries_ = nullptr;
};

}  // namespace moewe
