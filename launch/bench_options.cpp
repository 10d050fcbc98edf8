#include "launch/bench_options.hpp"

#include <boost/program_options.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sstream>

#include "launch/option_values.hpp"
#include "launch/routing_choice.hpp"
#include "launch/run_choices.hpp"

namespace moewe {
namespace {

namespace po = boost::program_options;

constexpr std::size_t max_ranks = 1024;
constexpr std::size_t max_tokens = std::size_t{1} << 24;
constexpr std::size_t max_size = std::size_t{1} << 20;
constexpr std::size_t max_experts = std::size_t{1} << 16;
constexpr double max_seconds = 1e5;

const Choices<Dtype> row_dtype_choices{{"bf16", Dtype::bf16}, {"f32", Dtype::f32}};

po::options_description describe_bench_options() {
  const auto value = [](const char* name) { return po::value<std::string>()->value_name(name); };
  po::options_description all(
      "moewe bench exchange: the token exchange, dispatch and combine with experts that do next to nothing, "
      "beside "
      "what it could cost at least and what it usually costs\n\n"
      "  mpirun -n 4 moewe bench exchange --tokens-per-rank 16,1024 --hidden 7168\n\n"
      "Contestants are the paths and carriers that this job has, of which the one that moewe run would "
      "choose is "
      "marked, and 'classic': permute, all-to-all of MPI, and "
      "back "
      "again. All take turns in one run; times are those of the slowest rank: of a single step, and of each "
      "of several in a row. The limit is a streaming copy "
      "of half "
      "the bytes that must be read and written.\n\n"
      "Options");
  all.add_options()("tokens-per-rank", value("LIST"), "tokens of each rank (default 1024)")(
      "hidden", value("LIST"), "values of a row (default 7168)")(
      "topk", value("N"), "experts of a token (default 8)")("experts", value("N"),
                                                            "number of experts (default 256)")(
      "dtype", value("NAME"), "of rows: bf16 (the default), f32")("combine", value("LIST"),
                                                                  "reproducible, fast (default: both)")(
      "routing", value("LIST"),
      "uniform (the default), lognormal:SIGMA, zipf:S, hot:K, trace:FILE with as many experts and choices")(
      "seed", value("N"), "of rows and choices (default 0)")("time", value("SECONDS"),
                                                             "least time for each case (default 3)")(
      "ranks", value("N"), "run N ranks as threads of this process; under mpirun or srun omit it")(
      "calibrate", value("WHEN"),
      "measure links between nodes, to mark the contestant that moewe run would choose: cached (the "
      "default), "
      "fresh, off")("timeout", value("SECONDS"),
                    "end the job when a rank waits longer than this (default 120)")(
      "json", value("FILE"), "write all figures as JSON")("csv", value("FILE"),
                                                          "write one line for each contestant")(
      "matrix", value("FILE"),
      "write the bytes of the last case's dispatch between all pairs of ranks, as NCCL's alltoallv_perf "
      "reads them")("help,h", "show this text");
  return all;
}

std::vector<Combine> find_combines(const OptionValues& values) {
  std::vector<Combine> combines;
  for (const std::string& item :
       find_list(values, "combine").value_or(std::vector<std::string>{"reproducible", "fast"})) {
    combines.push_back(parse_choice("combine", item, combine_choices));
  }
  return combines;
}

std::vector<std::string> find_routings(const OptionValues& values) {
  auto routings = find_list(values, "routing").value_or(std::vector<std::string>{"uniform"});
  for (const std::string& routing : routings) {
    if (!parse_routing(routing).is_forced())
      throw InvalidInput(fmt::format(
          "--routing {} is not available; choose from: uniform, lognormal:SIGMA, zipf:S, hot:K, trace:FILE",
          routing));
  }
  return routings;
}

}  // namespace

BenchOptions parse_bench_options(const std::vector<std::string>& arguments) {
  const OptionValues values = parse_command_line(arguments, describe_bench_options(), "moewe bench exchange");
  BenchOptions options;
  options.help = values.count("help") > 0;
  if (options.help) return options;
  options.tokens_per_rank = find_sizes(values, "tokens-per-rank", 0, max_tokens, 1024);
  options.hidden = find_sizes(values, "hidden", 1, max_size, 7168);
  options.routings = find_routings(values);
  options.combines = find_combines(values);
  options.experts = find_number(values, "experts", 1, max_experts).value_or(options.experts);
  options.top_k =
      find_number(values, "topk", 1, options.experts).value_or(std::min<std::size_t>(8, options.experts));
  options.calibrate = find_choice(values, "calibrate", calibrate_choices).value_or(options.calibrate);
  options.dtype = find_choice(values, "dtype", row_dtype_choices).value_or(options.dtype);
  options.seed = find_number(values, "seed", 0, UINT64_MAX).value_or(options.seed);
  options.seconds = find_positive(values, "time", max_seconds).value_or(options.seconds);
  options.timeout_s = find_positive(values, "timeout", max_seconds).value_or(options.timeout_s);
  options.ranks = find_number(values, "ranks", 1, max_ranks);
  options.json = find_text(values, "json");
  options.csv = find_text(values, "csv");
  options.matrix = find_text(values, "matrix");
  return options;
}

std::vector<std::string> BenchOptions::shared_settings() const {
  std::vector<std::string> combine_names;
  for (const Combine combine : combines) combine_names.emplace_back(name_of(combine));
  return {fmt::format("--tokens-per-rank {}", fmt::join(tokens_per_rank, ",")),
          fmt::format("--hidden {}", fmt::join(hidden, ",")),
          fmt::format("--topk {}", top_k),
          fmt::format("--experts {}", experts),
          fmt::format("--dtype {}", name_of(dtype)),
          fmt::format("--combine {}", fmt::join(combine_names, ",")),
          fmt::format("--routing {}", fmt::join(routings, ",")),
          fmt::format("--seed {}", seed),
          fmt::format("--calibrate {}", name_of(calibrate)),
          fmt::format("--time {}", seconds),
          fmt::format("--timeout {}", timeout_s)};
}

std::string bench_help() {
  std::ostringstream text;
  text << describe_bench_options();
  return text.str();
}

}  // namespace moewe
