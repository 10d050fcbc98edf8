#include "launch/slow_rank.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <numeric>

namespace moewe {
namespace {

constexpr double least_share = 0.05;   // of a step that are worth a line
constexpr double least_listed = 1e-3;  // of a step that are worth an entry
constexpr std::array computing{Phase::route, Phase::plan, Phase::experts};

/// What others have waited for one rank, and it for others.
struct Account {
  double caused = 0;
  double waited = 0;
  double caused_by_taking = 0;
  PhaseSeconds caused_in{};

  double net() const { return caused - waited; }
};

void charge(Account& waiting, Account& awaited, const RankWait& wait, double seconds) {
  waiting.waited += seconds;
  awaited.caused += seconds;
  awaited.caused_in[static_cast<std::size_t>(wait.phase)] += seconds;
  if (wait.awaited == Awaited::taking) awaited.caused_by_taking += seconds;
}

/// Where all wait for all, those who wait longer wait for the one that waits the least: it comes last.
void charge_common_waits(std::span<const RankWait> waits, Phase phase, std::vector<Account>& accounts) {
  std::vector<double> seconds(accounts.size(), 0);
  for (const RankWait& wait : waits) {
    if (wait.peer < 0 && wait.phase == phase) seconds[static_cast<std::size_t>(wait.rank)] += wait.seconds;
  }
  const auto last = std::min_element(seconds.begin(), seconds.end());
  Account& awaited = accounts[static_cast<std::size_t>(last - seconds.begin())];
  for (std::size_t rank = 0; rank < accounts.size(); ++rank) {
    const double longer = seconds[rank] - *last;
    if (longer > 0) charge(accounts[rank], awaited, {.phase = phase}, longer);
  }
}

std::vector<Account> settle(std::span<const RankWait> waits, std::size_t num_ranks) {
  std::vector<Account> accounts(num_ranks);
  for (const RankWait& wait : waits) {
    if (wait.peer < 0) continue;
    charge(accounts[static_cast<std::size_t>(wait.rank)], accounts[static_cast<std::size_t>(wait.peer)], wait,
           wait.seconds);
  }
  for (std::size_t p = 0; p < num_phases; ++p) charge_common_waits(waits, static_cast<Phase>(p), accounts);
  return accounts;
}

double compute_seconds(const PhaseSeconds& phases) {
  return std::accumulate(computing.begin(), computing.end(), 0.0, [&](double sum, Phase phase) {
    return sum + phases[static_cast<std::size_t>(phase)];
  });
}

/// By how much the rank computes longer than the others do on average.
double compute_excess(std::span<const PhaseSeconds> phases, std::size_t rank) {
  double others = 0;
  for (std::size_t r = 0; r < phases.size(); ++r) others += r == rank ? 0 : compute_seconds(phases[r]);
  return compute_seconds(phases[rank]) - others / static_cast<double>(phases.size() - 1);
}

SlowKind kind_of(const Account& account, double seconds, double excess) {
  if (excess > seconds / 2) return SlowKind::computes_longer;
  return account.caused_by_taking > account.caused / 2 ? SlowKind::takes_messages_late
                                                       : SlowKind::messages_come_late;
}

}  // namespace

const char* name_of(SlowKind kind) {
  constexpr std::array<const char*, 3> names{"computes longer", "its messages come late",
                                             "it takes its messages late"};
  return names[static_cast<std::size_t>(kind)];
}

std::vector<RankWait> waits_in_steps(const WaitTally& tally, Rank rank, double step_seconds) {
  std::vector<RankWait> waits;
  const auto add = [&](Phase phase, Awaited awaited, const std::vector<WaitTally::Duration>& sums) {
    for (std::size_t peer = 0; peer < sums.size(); ++peer) {
      const double seconds = std::chrono::duration<double>(sums[peer]).count();
      if (seconds <= least_listed * step_seconds) continue;
      const std::int32_t number_of_peer = peer + 1 == sums.size() ? -1 : static_cast<std::int32_t>(peer);
      waits.push_back({number(rank), number_of_peer, phase, awaited, seconds});
    }
  };
  for (const auto& sums : tally.phases()) {
    const auto* const name = std::find(phase_names.begin(), phase_names.end(), sums.phase);
    if (name == phase_names.end()) continue;
    const auto phase = static_cast<Phase>(name - phase_names.begin());
    add(phase, Awaited::arrival, sums.arrival);
    add(phase, Awaited::taking, sums.taking);
  }
  return waits;
}

std::vector<RankWait> gather_waits(Communicator& communicator, const std::vector<RankWait>& mine) {
  const std::vector<std::byte> bytes = communicator.gather(std::as_bytes(std::span(mine)), Rank{0});
  std::vector<RankWait> all(bytes.size() / sizeof(RankWait));
  if (!all.empty()) std::memcpy(all.data(), bytes.data(), bytes.size());
  std::stable_sort(all.begin(), all.end(),
                   [](const RankWait& a, const RankWait& b) { return a.seconds > b.seconds; });
  return all;
}

std::optional<SlowRank> find_slow_rank(std::span<const RankWait> waits, std::span<const PhaseSeconds> phases,
                                       double step_seconds) {
  if (phases.size() < 2) return std::nullopt;
  const std::vector<Account> accounts = settle(waits, phases.size());
  const auto worst = std::max_element(accounts.begin(), accounts.end(),
                                      [](const Account& a, const Account& b) { return a.net() < b.net(); });
  SlowRank slow;
  slow.rank = static_cast<std::size_t>(worst - accounts.begin());
  slow.seconds = worst->net() / static_cast<double>(phases.size() - 1);
  if (slow.seconds <= least_share * step_seconds) return std::nullopt;
  slow.share = slow.seconds / step_seconds;
  const auto phase = std::max_element(worst->caused_in.begin(), worst->caused_in.end());
  slow.phase = static_cast<Phase>(phase - worst->caused_in.begin());
  slow.kind = kind_of(*worst, slow.seconds, compute_excess(phases, slow.rank));
  return slow;
}

std::string describe(const SlowRank& slow, std::size_t num_steps) {
  return fmt::format("rank {} made others wait {:.3g} ms per step ({:.0f} % of the step) in {}: {}",
                     slow.rank, slow.seconds / static_cast<double>(num_steps) * 1e3, slow.share * 100,
                     moewe::name_of(slow.phase), name_of(slow.kind));
}

}  // namespace moewe
