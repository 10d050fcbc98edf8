#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace moewe::bench {

/// Something that is measured against others: does its work once and returns the seconds that it took.
struct Contestant {
  std::string name;
  std::function<double()> measure;
  bool may_rest = false;  ///< after a few rounds, if it is far from being the fastest by then
};

/// When a comparison has been run long enough: at least so many rounds, then until the time is over.
struct Pace {
  std::size_t least_rounds = 5;
  std::size_t most_rounds = 200;
  double seconds = 1.5;
};

/// Runs every contestant once per round, one after the other, in another order each round, so that a machine
/// that becomes slower does so for all. The first round is not counted. Element [c][r] is the time of
/// contestant c in round r. Times that are the same in every process make everything so, if the number of
/// rounds is fixed.
std::vector<std::vector<double>> alternate(std::span<const Contestant> contestants, const Pace& pace);

struct Spread {
  double least = 0;
  double p10 = 0;
  double median = 0;
  double p90 = 0;
};

/// Between neighbouring values percentiles are interpolated. `values` is not empty.
Spread spread_of(std::vector<double> values);

/// Round by round a[r] / b[r], which a machine's drift leaves alone, as long as both took part.
std::vector<double> ratios(std::span<const double> a, std::span<const double> b);

/// What passes for time.
enum class Clock {
  wall,
  cpu,  ///< what the process's threads computed; leaves out where others had the cores, and where it waited
};

double seconds_on(Clock clock);

/// Seconds that `work` takes.
template <typename Work>
double seconds_of(Work&& work, Clock clock = Clock::wall) {
  const double start = seconds_on(clock);
  work();
  return seconds_on(clock) - start;
}

/// Prints rows to standard output as they come, in columns of fixed width.
class Table {
 public:
  struct Column {
    std::string title;
    std::size_t width;
    bool is_number = true;  ///< numbers are flush right
  };

  /// Prints the titles. A table that is not `visible` prints nothing.
  explicit Table(std::vector<Column> columns, bool visible = true);
  void print(std::span<const std::string> cells) const;

 private:
  std::vector<Column> columns_;
  bool visible_;
};

}  // namespace moewe::bench
