#include "launch/bench_overlap_options.hpp"

#include <boost/program_options.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sstream>

#include "launch/cores.hpp"
#include "launch/exchange_options.hpp"
#include "launch/option_values.hpp"
#include "launch/routing_choice.hpp"
#include "launch/run_choices.hpp"
#include "runtime/presets.hpp"

namespace moewe {
namespace {

namespace po = boost::program_options;

constexpr std::size_t max_ranks = 1024;
constexpr std::size_t max_tokens = std::size_t{1} << 24;
constexpr std::size_t max_size = std::size_t{1} << 20;
constexpr std::size_t max_experts = std::size_t{1} << 16;
constexpr double max_seconds = 1e5;

const Choices<Dtype> row_dtype_choices{{"bf16", Dtype::bf16}, {"f32", Dtype::f32}};

po::options_description describe_options() {
  const auto value = [](const char* name) { return po::value<std::string>()->value_name(name); };
  po::options_description all(
      "moewe bench overlap: steps of one layer with a shared expert, with nothing done while rows travel "
      "(off), "
      "and with "
      "what moewe run --overlap shared and half do\n\n"
      "  mpirun -n 4 moewe bench overlap --tokens-per-rank 64,1024\n\n"
      "All take turns in one run, off twice: what it gains over itself is the noise. Times are those of the "
      "slowest "
      "rank. Weights are generated, and held once with and once without overlap.\n\n"
      "Options");
  all.add_options()("tokens-per-rank", value("LIST"), "tokens of each rank (default 256)")(
      "model", value("NAME"), "sizes and router of a preset (moewe run --help), instead of the following")(
      "hidden", value("N"), "values of a row (default 1024)")("intermediate", value("N"),
                                                              "size of an expert (default 512)")(
      "shared", value("N"), "size of the shared expert, 0 for none (default 1024)")(
      "experts", value("N"), "number of experts (default 16)")("topk", value("N"),
                                                               "experts of a token (default 4)")(
      "dtype", value("NAME"), "of weights, rows and wire: bf16 (the default), f32")(
      "routing", value("HOW"), "as moewe run has it (default router)")("path", value("NAME"),
                                                                       "as moewe run has it (default auto)")(
      "carrier", value("NAME"), "as moewe run has it (default auto)")("calibrate", value("WHEN"),
                                                                      "as moewe run has it (default cached)")(
      "seed", value("N"), "of all that is generated (default 0)")("time", value("SECONDS"),
                                                                  "least time for each case (default 5)")(
      "ranks", value("N"), "run N ranks as threads of this process; under mpirun or srun omit it")(
      "threads", value("N"), "cores per rank (default: OMP_NUM_THREADS, else cores / ranks on the node)")(
      "timeout", value("SECONDS"), "end the job when a rank waits longer than this (default 120)")(
      "json", value("FILE"), "write all figures as JSON")("help,h", "show this text");
  return all;
}

ModelConfig one_layer(const OptionValues& values) {
  const auto size = [&](const char* name, std::size_t least, std::size_t most, std::size_t otherwise) {
    return static_cast<std::size_t>(find_number(values, name, least, most).value_or(otherwise));
  };
  ModelConfig model;
  model.name = "custom";
  model.num_layers = 1;
  model.moe_layers = {0};
  model.layer.expert = {.hidden = size("hidden", 1, max_size, 1024),
                        .intermediate = size("intermediate", 1, max_size, 512)};
  model.layer.shared_intermediate = size("shared", 0, max_size, 1024);
  model.layer.num_experts = size("experts", 1, max_experts, 16);
  model.layer.router.top_k =
      size("topk", 1, model.layer.num_experts, std::min<std::size_t>(4, model.layer.num_experts));
  return model;
}

ModelConfig find_model(const OptionValues& values) {
  const auto preset = find_text(values, "model");
  if (!preset) return one_layer(values);
  for (const char* name : {"hidden", "intermediate", "shared", "experts", "topk"}) {
    if (values.count(name) > 0)
      throw InvalidInput(fmt::format("--model and --{} contradict each other", name));
  }
  return find_preset(*preset);
}

}  // namespace

OverlapBenchOptions parse_overlap_bench_options(const std::vector<std::string>& arguments) {
  const OptionValues values = parse_command_line(arguments, describe_options(), "moewe bench overlap");
  OverlapBenchOptions options;
  options.help = values.count("help") > 0;
  if (options.help) return options;
  options.model = find_model(values);
  options.tokens_per_rank = find_sizes(values, "tokens-per-rank", 0, max_tokens, 256);
  options.routing = find_text(values, "routing").value_or(options.routing);
  parse_routing(options.routing);
  options.dtype = find_choice(values, "dtype", row_dtype_choices).value_or(options.dtype);
  options.exchange = parse_exchange(values);
  if (options.exchange.carrier == CarrierRequest::nccl)
    throw InvalidInput("--carrier nccl is for GPUs, and moewe bench overlap is of cores");
  options.seed = find_number(values, "seed", 0, UINT64_MAX).value_or(options.seed);
  options.seconds = find_positive(values, "time", max_seconds).value_or(options.seconds);
  options.timeout_s = find_positive(values, "timeout", max_seconds).value_or(options.timeout_s);
  options.threads = find_number(values, "threads", 1, max_threads);
  options.ranks = find_number(values, "ranks", 1, max_ranks);
  options.json = find_text(values, "json");
  return options;
}

std::vector<std::string> OverlapBenchOptions::shared_settings() const {
  const LayerSpec& layer = model.layer;
  return {fmt::format("--model {}", model.name),
          fmt::format("--hidden {}", layer.expert.hidden),
          fmt::format("--intermediate {}", layer.expert.intermediate),
          fmt::format("--shared {}", layer.shared_intermediate),
          fmt::format("--experts {}", layer.num_experts),
          fmt::format("--topk {}", layer.router.top_k),
          fmt::format("--tokens-per-rank {}", fmt::join(tokens_per_rank, ",")),
          fmt::format("--routing {}", routing),
          fmt::format("--dtype {}", name_of(dtype)),
          fmt::format("--path {}", name_of(exchange.path)),
          fmt::format("--carrier {}", name_of(exchange.carrier)),
          fmt::format("--calibrate {}", name_of(exchange.calibrate)),
          fmt::format("--seed {}", seed),
          fmt::format("--time {}", seconds),
          fmt::format("--timeout {}", timeout_s)};
}

std::string overlap_bench_help() {
  std::ostringstream text;
  text << describe_options();
  return text.str();
}

}  // namespace moewe
