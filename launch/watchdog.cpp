#include "launch/watchdog.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include "comm/error.hpp"
#include "launch/wait_report.hpp"

namespace moewe {
namespace {

using Seconds = std::chrono::duration<double>;

// From the alarm on.
constexpr Seconds lines_take{0.1};        // of the other processes of the node
constexpr Seconds letters_take{0.5};      // at most
constexpr Seconds everything_takes{0.9};  // then each ends for itself

constexpr std::chrono::milliseconds nap{2};
constexpr std::chrono::milliseconds between_looks{10};  // into the mailbox

using HostName = ShortText<64>;

void print_lines(const StatusBoard& board, const std::string& host, const std::vector<Rank>& ranks,
                 const WatchdogActions& actions) {
  for (RankState state : board.states()) {
    if (std::find(ranks.begin(), ranks.end(), state.rank) == ranks.end()) continue;
    if (state.vitality == Vitality::left) continue;
    state.host = HostName(host);
    actions.print("moewe: " + describe(state) + "\n");
  }
}

void tell_alarm(StatusBoard& board, const std::string& host, const WatchdogActions& actions) {
  std::vector<Rank> ranks = board.own_ranks();
  std::erase_if(ranks, [&](Rank rank) { return !board.claim_line(rank); });
  print_lines(board, host, ranks, actions);
}

void print_matrix(const StatusBoard& board, const std::string& host, const WatchdogActions& actions) {
  std::vector<RankState> states = board.states();
  for (RankState& state : states) state.host = HostName(host);
  actions.print(fmt::format("moewe: the ranks on {}:\n{}", host, wait_matrix(states)));
}

}  // namespace

std::string host_name() {
  std::array<char, 64> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

void tell_states(StatusBoard& board, const std::string& host, const WatchdogActions& actions) {
  if (board.is_raised()) return tell_alarm(board, host, actions);
  print_lines(board, host, board.own_ranks(), actions);
  if (!board.claim_matrix()) return;
  std::this_thread::sleep_for(lines_take);
  print_matrix(board, host, actions);
}

Watchdog::Watchdog(Communicator& communicator, StatusBoard& board, Mailbox* mailbox, WatchdogActions actions)
    : communicator_(communicator),
      board_(board),
      mailbox_(mailbox),
      actions_(std::move(actions)),
      status_(board.join(communicator.rank())),
      tally_(communicator.size()) {
  status_.enter_phase("opening", std::chrono::steady_clock::now());
  const auto hosts = all_gather_values(communicator, HostName(host_name()));
  states_.resize(hosts.size());
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
    states_[rank].rank = rank_at(rank);
    states_[rank].host = hosts[rank];
  }
  communicator.waiter().set_watch(this);
}

Watchdog::~Watchdog() {
  communicator_.waiter().set_watch(nullptr);
  board_.leave(communicator_.rank());
}

bool Watchdog::is_over(std::chrono::steady_clock::time_point now) {
  if (board_.is_raised()) return true;
  if (mailbox_ == nullptr || now - last_look_ < between_looks) return false;
  last_look_ = now;
  take_letters();
  return board_.is_raised();
}

void Watchdog::report(const std::string& missing) {
  if (board_.raise_alarm()) actions_.wake();
  if (!missing.empty()) {
    actions_.print(
        fmt::format("moewe: rank {} on {}: {}\n", number(communicator_.rank()), host_name(), missing));
  }
  tell_alarm(board_, host_name(), actions_);
  if (board_.claim_report()) {
    collect();
    if (is_first_to_answer()) return end_with_report();
  }
  while (board_.alarm_age() < everything_takes) std::this_thread::sleep_for(nap);
  actions_.end();  // at last each for itself, whoever was to do it
}

/// To all ranks beyond the board, since nobody knows which of them will report.
void Watchdog::post_own_board() {
  const std::vector<RankState> own = board_.states();
  for (std::size_t rank = 0; rank < states_.size(); ++rank) {
    const bool is_here = std::any_of(own.begin(), own.end(),
                                     [&](const RankState& state) { return index(state.rank) == rank; });
    if (!is_here) mailbox_->post(rank_at(rank), std::as_bytes(std::span(own)));
  }
}

/// Every letter says that a deadline has passed elsewhere.
void Watchdog::take_letters() {
  while (const auto letter = mailbox_->take()) {
    if (board_.raise_alarm()) actions_.wake();
    for (std::size_t i = 0; i + sizeof(RankState) <= letter->size(); i += sizeof(RankState)) {
      RankState state;
      std::memcpy(&state, letter->data() + i, sizeof state);
      if (index(state.rank) >= states_.size()) continue;
      state.host = states_[index(state.rank)].host;
      states_[index(state.rank)] = state;
    }
  }
}

void Watchdog::add_own_board() {
  for (RankState state : board_.states()) {
    state.host = states_[index(state.rank)].host;
    states_[index(state.rank)] = state;
  }
}

bool Watchdog::knows_all() const {
  return std::none_of(states_.begin(), states_.end(),
                      [](const RankState& state) { return state.vitality == Vitality::silent; });
}

void Watchdog::collect() {
  try {
    if (mailbox_ != nullptr) post_own_board();
    add_own_board();
    while (board_.alarm_age() < letters_take && !(knows_all() && board_.alarm_age() >= lines_take)) {
      if (mailbox_ != nullptr) take_letters();
      std::this_thread::sleep_for(nap);
    }
  } catch (const Error& error) {  // a broken carrier answers nothing either
    actions_.print(fmt::format("moewe: while asking the other nodes: {}\n", error.what()));
  }
  add_own_board();
  // What stopped ranks say once the end of the job wakes them comes too late.
  for (const RankState& state : board_.states()) board_.claim_line(state.rank);
}

/// Of those who report, one for each board, one is to print.
bool Watchdog::is_first_to_answer() const {
  const auto first = std::find_if(states_.begin(), states_.end(),
                                  [](const RankState& state) { return state.vitality != Vitality::silent; });
  const std::vector<RankState> own = board_.states();
  return first != states_.end() && !own.empty() && first->rank == own.front().rank;
}

void Watchdog::end_with_report() const {
  const Culprit culprit = find_culprit(states_, index(communicator_.rank()));
  const RankState& state = states_[culprit.rank];
  actions_.print(fmt::format("moewe: a rank has waited for {:g} s:\n{}culprit: rank {} on {}: {}\n",
                             communicator_.waiter().timeout().count(), wait_matrix(states_), culprit.rank,
                             state.host.view(), name_of(culprit.reason)));
  actions_.end();
}

}  // namespace moewe
