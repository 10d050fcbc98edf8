#include <algorithm>
#include <cstdio>
#include <fmt/format.h>

#include "benchmarks/bare_experts.hpp"
#include "benchmarks/command_line.hpp"
#include "benchmarks/harness.hpp"
#include "benchmarks/own_experts.hpp"
#include "benchmarks/program.hpp"
#include "benchmarks/results_file.hpp"
#include "comm/error.hpp"
#include "tests/support/generated_model.hpp"

namespace moewe::bench {
namespace {

namespace po = boost::program_options;

struct Shape {
  std::size_t hidden;
  std::size_t intermediate;
};

/// Everything is measured for every combination.
struct Options {
  std::vector<Shape> shapes;
  std::vector<Dtype> dtypes;
  std::vector<std::size_t> threads;
  std::vector<std::size_t> rows;
  std::size_t experts;
  Pace pace;
  Clock clock;
};

po::options_description describe_options() {
  po::options_description options(
      "experts_benchmark: the expert compute of a step (rows pulled from scattered addresses, matmuls,\n"
      "activation, outputs stored to scattered addresses) against oneDNN's matmuls alone.\n\nOptions");
  auto add = options.add_options();
  add("shapes", text_option("LIST", "1024x1024,2048x768"), "hidden x intermediate size");
  add("rows", text_option("LIST", "4,16,64,256,1024"), "rows per expert");
  add("experts", text_option("N", "8"), "experts, each with its own weights");
  add("dtypes", text_option("LIST", "f32,bf16"), "of weights and rows");
  add("threads", text_option("LIST", "1,2"), "threads of either side");
  add("time", text_option("MS", "1200"), "least time for each combination, in milliseconds");
  add("rounds", text_option("N", "5"), "least number of rounds for each combination");
  add("clock", text_option("wall|cpu", "wall"), "cpu: for one thread, where others use the cores too");
  return options;
}

std::vector<Shape> parse_shapes(const CommandLine& line) {
  std::vector<Shape> shapes;
  for (const std::string& part : line.parts("shapes")) {
    const std::size_t x = std::min(part.find('x'), part.size());
    const auto side = [&](const std::string& text) {
      return parse_number(text, "each size of --shapes, written HIDDENxINTERMEDIATE,", 1, 65536);
    };
    shapes.push_back({side(part.substr(0, x)), side(part.substr(std::min(x + 1, part.size())))});
  }
  return shapes;
}

Clock parse_clock(const std::string& text) {
  if (text == "wall") return Clock::wall;
  if (text == "cpu") return Clock::cpu;
  throw InvalidInput(fmt::format("--clock must be wall or cpu, not '{}'", text));
}

Options parse(const CommandLine& line) {
  Options options;
  options.shapes = parse_shapes(line);
  options.dtypes = line.dtypes("dtypes");
  options.threads = line.numbers("threads", 1, 1024);
  options.rows = line.numbers("rows", 1, 65536);
  options.experts = line.number("experts", 1, 4096);
  options.pace.seconds = static_cast<double>(line.number("time", 0, 600000)) * 1e-3;
  options.clock = parse_clock(line.text("clock"));
  options.pace.least_rounds = line.number("rounds", 1, options.pace.most_rounds);
  return options;
}

/// What is asked of the ratio at so many rows per expert.
double wanted_ratio(std::size_t rows) { return rows < 16 ? 0.75 : 0.85; }

Table make_table() {
  return Table({{"hidden x inter", 14, false},
                {"dtype", 5, false},
                {"threads", 7},
                {"rows", 5},
                {"own ms", 9},
                {"GFLOP/s", 7},
                {"bare matmuls", 24, false},
                {"bare ms", 9},
                {"ratio", 6},
                {"p10-p90", 11},
                {"of best", 7},
                {"A/A p10-p90", 11},
                {"", 11, false}});
}

std::string range(const Spread& spread) { return fmt::format("{:.2f}-{:.2f}", spread.p10, spread.p90); }

/// One combination of options.
class Comparison {
 public:
  Comparison(const ExpertWork& work, const KeptWeights& weights, MatmulCache& matmuls, std::size_t threads)
      : work_(work), threads_(threads), own_(work, weights, matmuls, threads) {
    for (const BareWay& way : ways_for(work.dtype, threads)) {
      ways_.push_back(way);
      bare_.push_back(std::make_unique<BareExperts>(work, weights, own_, way, threads));
    }
  }

  void run(const Pace& pace, Clock clock) {
    own_.run();
    expect_same();
    std::vector<Contestant> contestants;
    for (int i = 0; i < 2; ++i) {
      contestants.push_back({"own", [this, clock] { return seconds_of([&] { own_.run(); }, clock); }});
    }
    for (const auto& bare : bare_) {
      contestants.push_back(
          {"bare", [&bare = *bare, clock] { return seconds_of([&] { bare.run(); }, clock); }, true});
    }
    times_ = alternate(contestants, pace);
    own_.expect_all_counted();
    expect_same();
  }

  void print(const Table& table) const {
    const Spread own = spread_of(times_[0]);
    for (std::size_t way = 0; way < ways_.size(); ++way) {
      const bool is_fastest = way == fastest();
      const bool is_short = is_fastest && ratio(way).median < wanted_ratio(work_.rows[0]);
      const Spread bare = spread_of(times_[2 + way]);
      table.print(std::vector<std::string>{
          fmt::format("{} x {}", work_.shape.hidden, work_.shape.intermediate), name_of(work_.dtype),
          fmt::format("{}", threads_), fmt::format("{}", work_.rows[0]),
          fmt::format("{:.3f}", own.median * 1e3), fmt::format("{:.1f}", work_.flops() / own.median * 1e-9),
          ways_[way].name() + (is_fastest ? " *" : ""), fmt::format("{:.3f}", bare.median * 1e3),
          fmt::format("{:.3f}", ratio(way).median), range(ratio(way)),
          fmt::format("{:.3f}", bare.least / own.least), range(against_itself()),
          is_short ? fmt::format("short of {}", wanted_ratio(work_.rows[0])) : ""});
    }
  }

  Json result() const {
    Json result{{"hidden", work_.shape.hidden},
                {"intermediate", work_.shape.intermediate},
                {"experts", work_.experts.size()},
                {"dtype", name_of(work_.dtype)},
                {"threads", threads_},
                {"rows_per_expert", work_.rows[0]},
                {"rounds", times_[0].size()},
                {"own_s", to_json(spread_of(times_[0]))},
                {"own_against_itself", to_json(against_itself())},
                {"wanted_ratio", wanted_ratio(work_.rows[0])},
                {"ratio", ratio(fastest()).median},
                {"bare", Json::array()}};
    for (std::size_t way = 0; way < ways_.size(); ++way) {
      result["bare"].push_back({{"name", ways_[way].name()},
                                {"fastest", way == fastest()},
                                {"bare_s", to_json(spread_of(times_[2 + way]))},
                                {"ratio", to_json(ratio(way))}});
    }
    return result;
  }

 private:
  void expect_same() {
    for (const auto& bare : bare_) bare->expect_same(own_);
  }

  Spread ratio(std::size_t way) const { return spread_of(ratios(times_[2 + way], times_[0])); }
  Spread against_itself() const { return spread_of(ratios(times_[1], times_[0])); }

  std::size_t fastest() const {
    std::vector<double> medians;
    for (std::size_t way = 0; way < ways_.size(); ++way) {
      medians.push_back(spread_of(times_[2 + way]).median);
    }
    return static_cast<std::size_t>(std::min_element(medians.begin(), medians.end()) - medians.begin());
  }

  ExpertWork work_;
  std::size_t threads_;
  OwnExperts own_;
  std::vector<BareWay> ways_;
  std::vector<std::unique_ptr<BareExperts>> bare_;
  std::vector<std::vector<double>> times_;  // own, own again, each way
};

ExpertWork make_work(const Shape& shape, Dtype dtype, std::size_t experts, std::size_t rows) {
  ExpertWork work;
  work.shape = {.hidden = shape.hidden, .intermediate = shape.intermediate};
  work.dtype = dtype;
  work.rows.assign(experts, rows);
  for (std::size_t e = 0; e < experts; ++e) work.experts.push_back(expert_at(e));
  return work;
}

void measure_shape(const Shape& shape, const Options& options, const Table& table, Json& results) {
  const LayerSpec spec{.expert = make_work(shape, Dtype::f32, 0, 0).shape,
                       .num_experts = options.experts,
                       .router = {},
                       .shared_intermediate = 0};
  const KeptWeights weights(spec, test::GeneratedWeights(spec, 1));
  MatmulCache matmuls;
  for (const Dtype dtype : options.dtypes) {
    for (const std::size_t threads : options.threads) {
      for (const std::size_t rows : options.rows) {
        Comparison comparison(make_work(shape, dtype, options.experts, rows), weights, matmuls, threads);
        comparison.run(options.pace, options.clock);
        comparison.print(table);
        results.push_back(comparison.result());
      }
    }
  }
}

int run(const CommandLine& line) {
  const Options options = parse(line);
  ResultsFile json = line.results_file();
  fmt::print("{} experts, {}; ratio = time of bare matmuls / own time, * against the fastest of them\n",
             options.experts, instruction_set());
  const Table table = make_table();
  Json results = Json::array();
  for (const Shape& shape : options.shapes) measure_shape(shape, options, table, results);
  json.write({{"isa", instruction_set()},
              {"clock", options.clock == Clock::wall ? "wall" : "cpu"},
              {"results", results}});
  return 0;
}

}  // namespace
}  // namespace moewe::bench

int main(int argc, char** argv) {
  return moewe::bench::run_program("experts_benchmark", argc, argv, moewe::bench::describe_options(),
                                   moewe::bench::run);
}
