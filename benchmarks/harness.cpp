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

constexpr std::size_t rounds_before_rest = 3;

using Times = std::vector<std::vector<double>>;

/// Takes those who may rest, and should, out of the order.
void let_rest(std::span<const Contestant> contestants, const Times& times, std::vector<std::size_t>& order) {
  constexpr double far = 2.5;
  const auto least = [&](std::size_t c) { return *std::min_element(times[c].begin(), times[c].end()); };
  double fastest = least(order.front());
  for (const std::size_t c : order) fastest = std::min(fastest, least(c));
  std::erase_if(order, [&](std::size_t c) { return contestants[c].may_rest && least(c) > far * fastest; });
}

}  // namespace

std::vector<std::vector<double>> alternate(std::span<const Contestant> contestants, const Pace& pace) {
  Times times(contestants.size());
  std::vector<std::size_t> order(contestants.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (const Contestant& contestant : contestants) contestant.measure();
  std::mt19937 generator(1);
  double spent = 0;
  for (std::size_t round = 0; round < pace.most_rounds; ++round) {
    if (round == rounds_before_rest) let_rest(contestants, times, order);
    if (round >= pace.least_rounds && spent >= pace.seconds) break;
    std::shuffle(order.begin(), order.end(), generator);
    for (const std::size_t c : order) {
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
