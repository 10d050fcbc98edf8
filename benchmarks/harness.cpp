#include "benchmarks/harness.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fmt/format.h>
#include <numeric>
#include <random>

#include "comm/error.hpp"

namespace moewe::bench {
namespace {

double percentile(const std::vector<double>& sorted, double fraction) {
  const double place = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

/// Runs everyone once, and lets those who are far from being the fastest rest after a few rounds.
std::vector<std::size_t> find_rounds(std::span<const Contestant> contestants, const Pace& pace) {
  constexpr double far = 2.5;
  constexpr std::size_t a_few = 3;
  std::vector<double> seconds;
  for (const Contestant& contestant : contestants) seconds.push_back(contestant.measure());
  const double fastest = *std::min_element(seconds.begin(), seconds.end());
  std::vector<std::size_t> rounds;
  for (const double s : seconds) rounds.push_back(s > far * fastest ? a_few : pace.most_rounds);
  return rounds;
}

}  // namespace

std::vector<std::vector<double>> alternate(std::span<const Contestant> contestants, const Pace& pace) {
  const std::vector<std::size_t> rounds_of = find_rounds(contestants, pace);
  std::vector<std::vector<double>> times(contestants.size());
  std::vector<std::size_t> order(contestants.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937 generator(1);
  double spent = 0;
  for (std::size_t round = 0; round < pace.most_rounds; ++round) {
    if (round >= pace.least_rounds && spent >= pace.seconds) break;
    std::shuffle(order.begin(), order.end(), generator);
    for (const std::size_t c : order) {
      if (round >= rounds_of[c]) continue;
      times[c].push_back(contestants[c].measure());
      spent += times[c].back();
    }
  }
  return times;
}

double seconds_on(Clock clock) {
  timespec now{};
  clock_gettime(clock == Clock::wall ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

Spread spread_of(std::vector<double> values) {
  expects(!values.empty(), "a spread has values");
  std::sort(values.begin(), values.end());
  return {values.front(), percentile(values, 0.1), percentile(values, 0.5), percentile(values, 0.9)};
}

std::vector<double> ratios(std::span<const double> a, std::span<const double> b) {
  std::vector<double> quotients(std::min(a.size(), b.size()));
  std::transform(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(quotients.size()), b.begin(),
                 quotients.begin(), std::divides<>());
  return quotients;
}

Table::Table(std::vector<Column> columns, bool visible) : columns_(std::move(columns)), visible_(visible) {
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  print(titles);
}

void Table::print(std::span<const std::string> cells) const {
  if (!visible_) return;
  expects(cells.size() == columns_.size(), "a row of a table has a cell per column");
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const auto [title, width, is_number] = columns_[i];
    line += is_number ? fmt::format("{:>{}}  ", cells[i], width) : fmt::format("{:<{}}  ", cells[i], width);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

}  // namespace moewe::bench
