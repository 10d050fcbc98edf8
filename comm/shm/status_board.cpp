#include "comm/shm/status_board.hpp"

#include <algorithm>
#include <csignal>
#include <iterator>
#include <memory>
#include <set>
#include <unistd.h>
#include <utility>

#include "comm/error.hpp"
#include "comm/shm/process_life.hpp"
#include "comm/shm/segment_peer_memory.hpp"
#include "comm/together.hpp"

namespace moewe {

struct alignas(64) StatusBoard::Header {
  std::uint64_t identity = 0;  // written before others may look
  std::atomic<Clock::rep> alarm{0};
  std::atomic<Clock::rep> last_matrix{0};
  std::atomic<bool> is_reported{false};
};

struct alignas(64) StatusBoard::Entry {
  std::atomic<pid_t> process{0};  // 0: has not joined
  std::atomic<std::uint64_t> process_start{0};
  std::atomic<bool> has_left{false};
  std::atomic<bool> has_told{false};
  RankStatus status;
};

namespace {

/// Where the ranks of a node find the board of the first of them.
struct BoardAddress {
  pid_t process;
  int file;
  std::uint64_t identity;
};

std::vector<Rank> first_ranks(std::size_t num_ranks) {
  std::vector<Rank> ranks;
  for (std::size_t rank = 0; rank < num_ranks; ++rank) ranks.push_back(rank_at(rank));
  return ranks;
}

RankStatus::Clock::rep ticks_now() { return RankStatus::Clock::now().time_since_epoch().count(); }

}  // namespace

std::size_t StatusBoard::bytes_for(std::size_t num_ranks) {
  return sizeof(Header) + num_ranks * sizeof(Entry);
}

StatusBoard::StatusBoard(std::vector<Rank> ranks, FileDescriptor file, bool is_new)
    : ranks_(std::move(ranks)),
      memory_(std::move(file), Segment::Access::write, bytes_for(ranks_.size()),
              is_new ? 0 : bytes_for(ranks_.size())),
      header_(reinterpret_cast<Header*>(memory_.data())),
      entries_(reinterpret_cast<Entry*>(memory_.data() + sizeof(Header))) {
  if (is_new) make_entries();
}

StatusBoard::StatusBoard(std::size_t num_ranks) : StatusBoard(first_ranks(num_ranks), create_nameless_file(), true) {}

StatusBoard::~StatusBoard() = default;

void StatusBoard::make_entries() {
  memory_.grow(bytes_for(ranks_.size()));
  std::construct_at(header_);
  for (std::size_t i = 0; i < ranks_.size(); ++i) std::construct_at(entries_ + i);
  header_->identity = random_number();
}

std::unique_ptr<StatusBoard> StatusBoard::of_node(Communicator& communicator) {
  const auto on_node = communicator.topology().node_ranks(communicator.rank());
  const std::vector<Rank> ranks(on_node.begin(), on_node.end());
  std::unique_ptr<StatusBoard> board;
  const bool is_first = communicator.rank() == ranks.front();
  together(communicator, [&] {
    const std::vector<Rank> self{communicator.rank()};
    board.reset(new StatusBoard(is_first ? ranks : self, create_nameless_file(), true));
  });
  const auto addresses = all_gather_values(
      communicator, BoardAddress{getpid(), board->memory_.file(), board->header_->identity});
  const BoardAddress& first = addresses[index(ranks.front())];
  together(communicator, [&] {
    if (is_first) return;
    try {
      std::unique_ptr<StatusBoard> common(
          new StatusBoard(ranks, open_memfd_of(first.process, first.file, FileAccess::write), false));
      if (common->header_->identity == first.identity) board = std::move(common);
    } catch (const Error&) {  // another PID namespace: each rank by itself
    }
  });
  return board;
}

StatusBoard::Entry& StatusBoard::entry(Rank rank) const {
  const auto found = std::lower_bound(ranks_.begin(), ranks_.end(), rank);
  expects(found != ranks_.end() && *found == rank, "a rank is on its board");
  return entries_[found - ranks_.begin()];
}

RankStatus& StatusBoard::join(Rank rank) {
  Entry& mine = entry(rank);
  mine.process_start.store(start_of_process(getpid()), std::memory_order_relaxed);
  mine.process.store(getpid(), std::memory_order_release);
  return mine.status;
}

void StatusBoard::leave(Rank rank) { entry(rank).has_left.store(true, std::memory_order_release); }

std::vector<RankState> StatusBoard::states() const {
  std::vector<RankState> states;
  for (const Rank rank : ranks_) {
    const Entry& one = entry(rank);
    const pid_t process = one.process.load(std::memory_order_acquire);
    if (process == 0) continue;
    RankState state = one.status.load(Clock::now());
    state.rank = rank;
    state.vitality = life_of_process(process, one.process_start.load(std::memory_order_relaxed));
    const bool has_left = one.has_left.load(std::memory_order_acquire);
    if (has_left && state.vitality == Vitality::runs) state.vitality = Vitality::left;
    states.push_back(state);
  }
  return states;
}

std::vector<Rank> StatusBoard::own_ranks() const {
  std::vector<Rank> own;
  std::copy_if(ranks_.begin(), ranks_.end(), std::back_inserter(own),
               [&](Rank rank) { return entry(rank).process.load() == getpid(); });
  return own;
}

void StatusBoard::signal_processes(int number) const {
  std::set<pid_t> processes;
  for (const Rank rank : ranks_) processes.insert(entry(rank).process.load());
  for (const pid_t process : processes) {
    if (process != 0) kill(process, number);
  }
}

bool StatusBoard::raise_alarm() {
  Clock::rep none = 0;
  return header_->alarm.compare_exchange_strong(none, ticks_now());
}

bool StatusBoard::is_raised() const { return header_->alarm.load(std::memory_order_relaxed) != 0; }

std::chrono::duration<double> StatusBoard::alarm_age() const {
  return Clock::duration(ticks_now() - header_->alarm.load());
}

bool StatusBoard::claim_line(Rank rank) { return !entry(rank).has_told.exchange(true); }

bool StatusBoard::claim_report() { return !header_->is_reported.exchange(true); }

bool StatusBoard::claim_matrix() {
  constexpr Clock::duration once_in = std::chrono::milliseconds(500);
  const Clock::rep now = ticks_now();
  Clock::rep last = header_->last_matrix.load();
  return now - last >= once_in.count() && header_->last_matrix.compare_exchange_strong(last, now);
}

}  // namespace moewe
