#include "benchmarks/exchange/contest.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <numeric>
#include <random>

namespace moewe::bench {
namespace {

using Clock = std::chrono::steady_clock;

/// Collective.
bool is_correct(Communicator& communicator, const RoundContestant& contestant, const ContestCheck& check,
                std::span<float> y) {
  if (!contestant.has_results) return true;
  std::fill(y.begin(), y.end(), std::numeric_limits<float>::quiet_NaN());
  contestant.run(y);
  std::array<std::int64_t, 1> wrong{static_cast<std::int64_t>(check.count_wrong(y))};
  communicator.all_reduce({.sums = wrong, .minima = {}, .maxima = {}});
  return wrong[0] == 0;
}

/// Collective: element by element the largest over all ranks.
RoundTrip slowest(Communicator& communicator, const RoundTrip& mine) {
  constexpr double nanoseconds = 1e9;
  const auto ticks = [](double seconds) { return static_cast<std::int64_t>(seconds * nanoseconds); };
  std::array<std::int64_t, 3> most{ticks(mine.whole), ticks(mine.dispatch), ticks(mine.combine)};
  communicator.all_reduce({.sums = {}, .minima = {}, .maxima = most});
  const auto seconds = [](std::int64_t value) { return static_cast<double>(value) / nanoseconds; };
  return {seconds(most[0]), seconds(most[1]), seconds(most[2])};
}

/// How many steps are timed in a row, if one takes so long on all ranks.
std::size_t chain_length(const ContestPace& pace, double step_s) {
  constexpr double least = 2, most = 32;
  return static_cast<std::size_t>(std::clamp(pace.chain_s / step_s, least, most));
}

/// Collective. Of each of so many steps in a row, on the slowest rank.
double chained_step(Communicator& communicator, const RoundContestant& contestant, std::size_t num_steps,
                    std::span<float> y) {
  const Clock::time_point start = Clock::now();
  for (std::size_t step = 0; step < num_steps; ++step) contestant.run(y);
  const std::chrono::duration<double> elapsed = Clock::now() - start;
  return slowest(communicator, {.whole = elapsed.count() / static_cast<double>(num_steps)}).whole;
}

/// Collective. Rank 0's clock decides for all.
bool goes_on(Communicator& communicator, std::size_t round, const ContestPace& pace,
             Clock::time_point start) {
  std::array<std::int64_t, 1> over{0};
  const std::chrono::duration<double> elapsed = Clock::now() - start;
  if (communicator.rank() == Rank{0} && round >= pace.least_rounds && elapsed.count() >= pace.seconds)
    over[0] = 1;
  communicator.all_reduce({.sums = over, .minima = {}, .maxima = {}});
  return over[0] == 0 && round < pace.most_rounds;
}

}  // namespace

std::vector<ContestResult> run_contest(Communicator& communicator,
                                       std::span<const RoundContestant> contestants,
                                       const ContestCheck& check, const ContestPace& pace) {
  std::vector<float> y(check.num_values);
  std::vector<ContestResult> results(contestants.size());
  const auto check_all = [&] {
    for (std::size_t c = 0; c < contestants.size(); ++c) {
      results[c].name = contestants[c].name;
      results[c].is_correct &= is_correct(communicator, contestants[c], check, y);
    }
  };
  check_all();
  std::vector<double> quickest(contestants.size(), std::numeric_limits<double>::infinity());
  std::vector<std::size_t> order(contestants.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937 random(1);  // the same order on every rank
  const Clock::time_point start = Clock::now();
  for (std::size_t round = 0; goes_on(communicator, round, pace, start); ++round) {
    std::shuffle(order.begin(), order.end(), random);
    for (const std::size_t c : order) {
      communicator.barrier();
      const RoundTrip time = slowest(communicator, contestants[c].run(y));
      results[c].whole.push_back(time.whole);
      results[c].dispatch.push_back(time.dispatch);
      results[c].combine.push_back(time.combine);
      if (pace.chain_s == 0) continue;
      quickest[c] = std::min(quickest[c], time.whole);
      results[c].chained.push_back(
          chained_step(communicator, contestants[c], chain_length(pace, quickest[c]), y));
    }
  }
  check_all();
  return results;
}

}  // namespace moewe::bench
