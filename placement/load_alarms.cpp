#include "placement/load_alarms.hpp"

#include <algorithm>
#include <bit>
#include <fmt/format.h>

#include "comm/error.hpp"
#include "placement/loads.hpp"
#include "placement/wide.hpp"

namespace moewe {
namespace {

constexpr Millionths one = 1'000'000;
constexpr unsigned log_bits = 24;  // behind the point of a logarithm

/// To base 2, in 2^-24; of 1 to 2^62. The same everywhere, as std::log2 is not.
std::int64_t logarithm(std::int64_t value) {
  constexpr unsigned mantissa_bits = 31;
  const auto bits = static_cast<unsigned>(std::bit_width(static_cast<std::uint64_t>(value))) - 1;
  auto mantissa = static_cast<std::uint64_t>((wide(value) << 64U >> bits) >> (64U - mantissa_bits));
  std::int64_t result = bits;
  for (unsigned i = 0; i < log_bits; ++i) {
    mantissa = (mantissa * mantissa) >> mantissa_bits;
    const std::uint64_t bit = mantissa >> (mantissa_bits + 1);
    mantissa >>= bit;
    result = 2 * result + static_cast<std::int64_t>(bit);
  }
  return result;
}

double percent(Millionths share) { return static_cast<double>(share) / 1e4; }

Millionths share_of(std::int64_t part, std::int64_t whole) {
  return static_cast<Millionths>(wide(part) * wide(one) / wide(whole));
}

/// Of one layer, in 2^-24 bits.
struct Entropy {
  std::int64_t value = 0;
  std::int64_t spread = 0;  ///< standard deviation
};

Entropy entropy_of(std::span<const std::int64_t> loads, std::int64_t total) {
  constexpr std::int64_t half_of_nat = 12'102'203;  // 1 / (2 ln 2)
  Wide sum = 0;
  Wide squares = 0;
  std::int64_t used = 0;
  for (const std::int64_t load : loads) {
    if (load == 0) continue;
    const std::int64_t surprise = std::max<std::int64_t>(0, logarithm(total) - logarithm(load));
    sum += wide(load) * wide(surprise);
    squares += wide(load) * wide(surprise) * wide(surprise);
    ++used;
  }
  const Wide mean = sum / wide(total);
  const Wide variance = squares / wide(total) - std::min(squares / wide(total), mean * mean);
  return {static_cast<std::int64_t>(mean) + (used - 1) * half_of_nat / total,
          square_root(variance / wide(total))};
}

class LoadExamination {
 public:
  LoadExamination(std::span<const std::int64_t> counts, std::size_t num_sources, const AlarmOptions& options)
      : counts_(counts),
        options_(options),
        loads_(counts.size() / num_sources, 0),
        of_source_(num_sources, 0) {
    health_.num_assignments = checked_total(counts, counts.size(), "load alarms");
    for (std::size_t i = 0; i < counts.size(); ++i) {
      loads_[i % loads_.size()] += counts[i];
      of_source_[i / loads_.size()] += counts[i];
    }
  }

  LoadHealth run() {
    if (total() == 0) return std::move(health_);
    examine_utilisation();
    examine_entropy();
    examine_cold();
    for (std::size_t expert = 0; expert < loads_.size() && of_source_.size() > 1; ++expert)
      examine_sources(expert);
    return std::move(health_);
  }

 private:
  std::int64_t total() const { return health_.num_assignments; }
  std::int64_t num_experts() const { return static_cast<std::int64_t>(loads_.size()); }
  bool has_counts() const { return total() / num_experts() >= options_.least_counts; }

  void examine_utilisation() {
    health_.num_used = loads_.size() - static_cast<std::size_t>(std::count(loads_.begin(), loads_.end(), 0));
    health_.utilisation = share_of(static_cast<std::int64_t>(health_.num_used), num_experts());
    if (!has_counts() || health_.utilisation >= options_.least_utilisation) return;
    health_.alarms.push_back({LoadAlarmKind::utilisation, 0, 0, health_.utilisation,
                              options_.least_utilisation,
                              fmt::format("{} of {} experts are used, fewer than {:.1f} %", health_.num_used,
                                          loads_.size(), percent(options_.least_utilisation))});
  }

  void examine_entropy() {
    const std::int64_t most = logarithm(num_experts());
    const Entropy entropy = entropy_of(loads_, total());
    health_.entropy = most == 0 ? one : share_of(std::min(entropy.value, most), most);
    const Millionths at_most = most == 0 ? one : share_of(entropy.value + 4 * entropy.spread, most);
    if (!has_counts() || at_most >= options_.least_entropy) return;
    health_.alarms.push_back(
        {LoadAlarmKind::entropy, 0, 0, health_.entropy, options_.least_entropy,
         fmt::format("the entropy of the loads is {:.3f} of that of equal ones, below {:.3f}",
                     percent(health_.entropy) / 100, percent(options_.least_entropy) / 100)});
  }

  /// Parts of an assignment, one million of them each.
  bool is_cold(std::int64_t load) const {
    const Wide threshold = wide(total()) * wide(options_.cold) / wide(num_experts());
    const Wide parts = wide(load) * wide(one);
    return parts < threshold && threshold - parts >= 3 * wide(square_root(threshold * wide(one)));
  }

  void examine_cold() {
    health_.num_cold = static_cast<std::size_t>(
        std::count_if(loads_.begin(), loads_.end(), [&](std::int64_t load) { return is_cold(load); }));
    if (health_.num_cold == 0) return;
    const auto coldest = std::min_element(loads_.begin(), loads_.end());
    const auto value = share_of(*coldest * num_experts(), total());
    const auto expert = static_cast<std::size_t>(coldest - loads_.begin());
    health_.alarms.push_back(
        {LoadAlarmKind::cold, expert, 0, value, options_.cold,
         fmt::format("{} of {} experts have less than {:.1f} % of the mean load; expert {} has {:.2f} %",
                     health_.num_cold, loads_.size(), percent(options_.cold), expert, percent(value))});
  }

  bool is_overloaded(std::int64_t load) const {
    const std::int64_t sure = load - 4 * (square_root(wide(load)) + 1);
    return sure > 0 && wide(sure) * wide(num_experts()) * wide(one) > wide(total()) * wide(options_.overload);
  }

  void examine_sources(std::size_t expert) {
    if (!is_overloaded(loads_[expert])) return;
    for (std::size_t source = 0; source < of_source_.size(); ++source) {
      const std::int64_t count = counts_[source * loads_.size() + expert];
      const Millionths of_all = share_of(of_source_[source], total());
      const Millionths threshold = of_all + (one - of_all) * options_.source_share / one;
      const Wide bar = wide(threshold) * wide(loads_[expert]) +
                       4 * wide(square_root(wide(threshold) * wide(one - threshold) * wide(loads_[expert])));
      if (wide(count) * wide(one) > bar) report_source(expert, source, threshold);
    }
  }

  void report_source(std::size_t expert, std::size_t source, Millionths threshold) {
    const Millionths value = share_of(counts_[source * loads_.size() + expert], loads_[expert]);
    const double over_mean = percent(share_of(loads_[expert] * num_experts(), total())) / 100;
    health_.alarms.push_back(
        {LoadAlarmKind::source, expert, source, value, threshold,
         fmt::format(
             "source {} brings {:.1f} % of the assignments of expert {}, which has {:.2f} times the mean "
             "load, but {:.1f} % of all",
             source, percent(value), expert, over_mean, percent(share_of(of_source_[source], total())))});
  }

  std::span<const std::int64_t> counts_;
  const AlarmOptions& options_;
  std::vector<std::int64_t> loads_;      // [experts]
  std::vector<std::int64_t> of_source_;  // [sources]
  LoadHealth health_;
};

}  // namespace

LoadHealth examine_loads(std::span<const std::int64_t> counts, std::size_t num_sources,
                         const AlarmOptions& options) {
  if (num_sources == 0 || counts.empty() || counts.size() % num_sources != 0) {
    throw InvalidInput(
        fmt::format("load alarms: {} counts are not those of {} sources", counts.size(), num_sources));
  }
  return LoadExamination(counts, num_sources, options).run();
}

}  // namespace moewe
