#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "benchmarks/harness.hpp"
#include "benchmarks/load_tables.hpp"
#include "benchmarks/token_model.hpp"
#include "comm/error.hpp"
#include "placement/plan.hpp"
#include "placement/plan_groups.hpp"
#include "placement/plan_incremental.hpp"
#include "placement/plan_robust.hpp"
#include "placement/split.hpp"

namespace moewe::bench {
namespace {

using Loads = std::vector<std::int64_t>;

/// What one layer or one call gave, over all of them.
class Figures {
 public:
  void add(double value) { values_.push_back(value); }
  double mean() const {
    return std::accumulate(values_.begin(), values_.end(), 0.0) / static_cast<double>(values_.size());
  }
  double worst() const { return *std::max_element(values_.begin(), values_.end()); }
  double percentile(double share) const {
    std::vector<double> sorted = values_;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
  }
  std::string text(const char* unit = "") const {
    return fmt::format("{:.4f}{}, worst {:.4f}", mean(), unit, worst());
  }

 private:
  std::vector<double> values_;
};

/// One line of what must be shown.
class Report {
 public:
  Report()
      : table_({{"slots/ranks", 44, false}, {"EPLB", 14, false}, {"asked", 18, false}, {"ours", 60, false}}) {
  }

  void line(const std::string& what, const std::string& eplb, const std::string& asked,
            const std::string& ours) {
    table_.print(std::vector<std::string>{what, eplb, asked, ours});
  }

 private:
  Table table_;
};

/// What one thread computed: other processes may have the core meanwhile.
double cpu_seconds(const std::function<void()>& work) { return seconds_of(work, Clock::cpu); }

double max_over_mean(std::int64_t largest, const Loads& loads, std::size_t num_ranks) {
  const auto total = static_cast<double>(std::accumulate(loads.begin(), loads.end(), std::int64_t{0}));
  return total == 0 ? 1.0 : static_cast<double>(largest) * static_cast<double>(num_ranks) / total;
}

double imbalance_of(const Placement& placement, const Loads& loads) {
  return max_over_mean(Splitter(placement).largest(loads), loads, placement.num_ranks());
}

/// No placement of `slots` experts on each rank, without replicas, has a smaller largest rank load: among the
/// n heaviest experts, i ranks hold all of them and their lightest companions, for each i that can.
double cardinality_bound(Loads loads, std::size_t ranks, std::size_t slots) {
  std::sort(loads.begin(), loads.end());
  std::vector<std::int64_t> light{0};
  for (const std::int64_t load : loads) light.push_back(light.back() + load);
  const std::int64_t total = light.back();
  double bound = 0;
  for (std::size_t n = 1; n <= loads.size(); ++n) {
    const std::int64_t heavy = total - light[loads.size() - n];
    double least = 1e300;
    for (std::size_t i = (n + slots - 1) / slots; i <= std::min(n, ranks); ++i) {
      least = std::min(least, static_cast<double>(heavy + light[i * slots - n]) / static_cast<double>(i));
    }
    bound = std::max(bound, least);
  }
  return bound;
}

class Benchmark {
 public:
  explicit Benchmark(std::vector<LoadTable> tables) : tables_(std::move(tables)) {}

  void in_sample() {
    Figures figures;
    Figures duplicates;
    for_each_layer([&](const Loads& loads) {
      const Placement placement = plan_placement(loads, flat(9));
      figures.add(imbalance_of(placement, loads));
      duplicates.add(static_cast<double>(count_duplicates(placement)));
    });
    report_.line("288/32 in-sample, mean, worst, duplicates", "1.0069, 1.014", "1.001, 1.005, 0",
                 fmt::format("{}, {}", figures.text(), duplicates.worst()));
  }

  void without_spares(std::size_t ranks, const char* eplb, const char* asked) {
    Figures gaps;
    Figures seconds;
    const SlotSpace space = SlotSpace::equal(Topology::one_node(ranks), 256 / ranks);
    for_each_layer([&](const Loads& loads) {
      std::int64_t largest = 0;
      seconds.add(1e3 *
                  cpu_seconds([&] { largest = Splitter(plan_placement(loads, space)).largest(loads); }));
      gaps.add(100 * (static_cast<double>(largest) / cardinality_bound(loads, ranks, 256 / ranks) - 1));
    });
    report_.line(fmt::format("256/{}, gap to cardinality bound, mean", ranks), eplb, asked,
                 fmt::format("{} ({:.2f} ms per layer)", gaps.text(" %"), seconds.mean()));
  }

  void planning_time() {
    std::vector<double> seconds;
    for (const LoadTable& table : tables_) {
      seconds.push_back(1e3 * cpu_seconds([&] {
                          for (const Loads& loads : table.layers) plan_placement(loads, flat(9));
                        }));
    }
    report_.line("full plan of 58 layers, 288/32, ms", "1030", "25", milliseconds(seconds));
  }

  void split_time(std::size_t copies_of_table, const SlotSpace& space, const char* asked) {
    Figures seconds;
    for_each_layer([&](const Loads& part) {
      Loads loads;
      for (std::size_t i = 0; i < copies_of_table; ++i) {
        for (std::size_t e = 0; e < part.size(); ++e) loads.push_back(part[(e * (2 * i + 1)) % part.size()]);
      }
      Splitter splitter(plan_placement(loads, space));
      for (std::int64_t& load : loads) load = load * 7 / 8 + 100;
      splitter.split(loads);
      seconds.add(1e6 / 20 * cpu_seconds([&] {
                    for (int i = 0; i < 20; ++i) splitter.split(loads);
                  }));
    });
    report_.line(fmt::format("split per layer, {}/{}, us", space.num_slots(), space.topology.num_ranks()),
                 "-", asked, fmt::format("{:.1f}, worst {:.1f}", seconds.mean(), seconds.worst()));
  }

  void large(std::size_t slots) {
    const SlotSpace space = SlotSpace::equal(Topology::one_node(1024), slots);
    Figures figures;
    double seconds = 0;
    for (const Loads& part : tables_.front().layers) {
      Loads loads = part;
      for (std::size_t e = 0; e < part.size(); ++e) loads.push_back(part[(e * 7 + 3) % part.size()]);
      std::int64_t largest = 0;
      seconds += cpu_seconds([&] { largest = Splitter(plan_placement(loads, space)).largest(loads); });
      figures.add(max_over_mean(largest, loads, 1024));
    }
    report_.line(fmt::format("58 layers x 512 experts on 1024 ranks, {} slots, s", slots), "-", "0.5",
                 fmt::format("{:.3f}; {}", seconds, figures.text()));
  }

  void incremental() {
    const LoadTable& before = table("prefill_in1024");
    const LoadTable& now = table("decode_in2000out100");
    Figures arrivals;
    Figures reached;
    std::vector<double> seconds;
    std::vector<Placement> stale;
    for (const Loads& loads : before.layers) stale.push_back(plan_placement(loads, flat(9)));
    for (std::size_t layer = 0; layer < now.layers.size(); ++layer) {
      const Placement placement = plan_incrementally(stale[layer], now.layers[layer]);
      arrivals.add(static_cast<double>(count_arrivals(stale[layer], placement)));
      reached.add(imbalance_of(placement, now.layers[layer]));
    }
    for (int i = 0; i < 5; ++i) {
      seconds.push_back(1e3 * cpu_seconds([&] {
                          for (std::size_t layer = 0; layer < now.layers.size(); ++layer) {
                            plan_incrementally(stale[layer], now.layers[layer]);
                          }
                        }));
    }
    report_.line("arrivals per layer, prefill 1024 -> decode", "275", "8, p95 16, to 1.02",
                 fmt::format("{:.2f}, p95 {}, worst {}; to {}", arrivals.mean(), arrivals.percentile(0.95),
                             arrivals.worst(), reached.text()));
    report_.line("incremental plan of 58 layers, ms", "-", "12", milliseconds(seconds));
  }

  void robust() {
    const LoadTable& before = table("prefill_in1024");
    std::vector<Placement> plans;
    const double seconds = cpu_seconds([&] {
      for (const Loads& loads : before.layers) plans.push_back(plan_robustly(loads, flat(9)));
    });
    report_.line("robust plan of 58 layers, s", "-", "5", fmt::format("{:.2f}", seconds));
    stale(plans, "prefill_in4096", "1.236", "1.065");
    stale(plans, "decode_in2000out100", "1.313", "1.13");
  }

  void stale(const std::vector<Placement>& plans, const char* now, const char* eplb, const char* asked) {
    Figures figures;
    for (std::size_t layer = 0; layer < plans.size(); ++layer) {
      figures.add(imbalance_of(plans[layer], table(now).layers[layer]));
    }
    report_.line(fmt::format("robust plan of prefill_in1024, run on {}", now), eplb, asked, figures.text());
  }

  /// Against whole groups on their home nodes, which EPLB's hierarchical policy keeps.
  void hierarchy() {
    std::vector<std::uint64_t> nodes;
    for (std::uint64_t rank = 0; rank < 32; ++rank) nodes.push_back(rank / 8);
    const SlotSpace space = SlotSpace::equal(Topology(nodes), 9);
    Figures figures;
    Figures extra;
    Figures aware;
    Figures foreign;
    Figures seconds;
    std::size_t layer = 0;
    for_each_layer([&](const Loads& loads) {
      Placement placement = contiguous_placement(1, 1);
      seconds.add(1e3 * cpu_seconds([&] { placement = plan_with_groups(loads, space, {.num_groups = 8}); }));
      figures.add(imbalance_of(placement, loads));
      foreign.add(static_cast<double>(
          count_foreign(placement, space.topology, home_nodes(placement, space.topology, 8))));
      if (layer++ % 16 != 0) return;
      const auto tokens = draw_tokens(loads, {}, 2000, layer);
      const Placement whole = plan_with_groups(loads, space, {.num_groups = 8, .most_foreign = 0});
      const double least = nodes_per_token(tokens, whole, space.topology, split_loads(whole, loads), false);
      const auto more = [&](bool is_aware) {
        const Split split = split_loads(placement, loads);
        return 100 * (nodes_per_token(tokens, placement, space.topology, split, is_aware) / least - 1);
      };
      extra.add(more(false));
      aware.add(more(true));
    });
    report_.line("288/32, 8 groups on 4 nodes", "1.228", "1.02",
                 fmt::format("{} ({:.1f} foreign slots, {:.2f} ms per layer)", figures.text(), foreign.mean(),
                             seconds.mean()));
    report_.line("... extra nodes per token, %: random, aware (limit)", "0", "6, 2",
                 fmt::format("{:.2f}, {:.2f}", extra.mean(), aware.mean()));
  }

  /// Batches drawn from a table, with the split of each batch.
  void batches(std::size_t tokens_per_rank, const char* eplb, const char* asked) {
    const LoadTable& from = table("prefill_in1024");
    std::mt19937_64 random(1);
    Figures figures;
    for (std::size_t layer = 0; layer < from.layers.size(); layer += 6) {
      const Loads& loads = from.layers[layer];
      Splitter splitter(plan_robustly(loads, flat(9)));
      std::discrete_distribution<std::size_t> expert(loads.begin(), loads.end());
      for (int batch = 0; batch < 20; ++batch) {
        Loads counts(loads.size(), 0);
        for (std::size_t i = 0; i < tokens_per_rank * 32 * 8; ++i) ++counts[expert(random)];
        figures.add(max_over_mean(splitter.largest(counts), counts, 32));
      }
    }
    report_.line(fmt::format("batches of {} tokens per rank, robust plan", tokens_per_rank), eplb, asked,
                 figures.text());
  }

  void run(const std::vector<std::string>& wanted) {
    const auto section = [&](const char* name, const std::function<void()>& work) {
      if (wanted.empty() || std::find(wanted.begin(), wanted.end(), name) != wanted.end()) work();
    };
    section("in-sample", [&] { in_sample(); });
    section("no-spares", [&] {
      without_spares(32, "3.9 %", "0.3 %");
      without_spares(16, "1.9 %", "0.05 %");
    });
    section("time", [&] { planning_time(); });
    section("split", [&] {
      split_time(1, flat(9), "15");
      split_time(2, SlotSpace::equal(Topology::one_node(128), 5), "50");
    });
    section("incremental", [&] { incremental(); });
    section("robust", [&] { robust(); });
    section("hierarchy", [&] { hierarchy(); });
    section("batches", [&] {
      batches(16, "1.183", "1.05");
      batches(256, "1.049", "1.02");
    });
    section("large", [&] {
      large(2);
      large(3);
    });
  }

 private:
  static SlotSpace flat(std::size_t slots) { return SlotSpace::equal(Topology::one_node(32), slots); }

  const LoadTable& table(const std::string& name) const {
    const auto found =
        std::find_if(tables_.begin(), tables_.end(), [&](const auto& t) { return t.name == name; });
    if (found == tables_.end()) throw InvalidInput(fmt::format("the table {} is missing", name));
    return *found;
  }

  void for_each_layer(const std::function<void(const Loads&)>& visit) const {
    for (const LoadTable& table : tables_) {
      for (const Loads& loads : table.layers) visit(loads);
    }
  }

  static std::string milliseconds(const std::vector<double>& values) {
    const Spread spread = spread_of(values);
    return fmt::format("{:.1f} (tables: least {:.1f}, p90 {:.1f})", spread.median, spread.least, spread.p90);
  }

  std::vector<LoadTable> tables_;
  Report report_;
};

int run(const std::vector<std::string>& wanted) {
  const char* data = std::getenv("MOEWE_DATA");
  if (data == nullptr)
    throw InvalidInput("placement_benchmark: MOEWE_DATA names no folder of recorded loads");
  Benchmark(read_load_tables(std::string(data) + "/deepseek_v3_load")).run(wanted);
  return 0;
}

}  // namespace
}  // namespace moewe::bench

int main(int argc, char** argv) {
  try {
    return moewe::bench::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    fmt::print(stderr, "placement_benchmark: {}\n", error.what());
    return 2;
  }
}
