#include "launch/place_options.hpp"

#include <boost/program_options.hpp>
#include <cmath>
#include <fmt/format.h>
#include <sstream>

#include "launch/option_values.hpp"

namespace moewe {
namespace {

namespace po = boost::program_options;

constexpr std::size_t max_ranks = std::size_t{1} << 14U;
constexpr std::size_t max_slots_per_rank = std::size_t{1} << 12U;
constexpr std::size_t max_slots = std::size_t{1} << 18U;
constexpr std::size_t max_experts = std::size_t{1} << 16U;
constexpr std::uint64_t max_step_tokens = std::uint64_t{1} << 32U;
constexpr double max_target = 100;

const Choices<PlaceAlgorithm> algorithm_choices{{"moewe", PlaceAlgorithm::moewe},
                                                {"robust", PlaceAlgorithm::robust},
                                                {"eplb", PlaceAlgorithm::eplb},
                                                {"eplb-hierarchical", PlaceAlgorithm::eplb_hierarchical},
                                                {"contiguous", PlaceAlgorithm::contiguous}};
const Choices<MapFormat> format_choices{
    {"moewe", MapFormat::moewe}, {"sglang", MapFormat::sglang}, {"tensorrt-llm", MapFormat::tensorrt_llm}};

po::options_description describe_place_options() {
  const auto value = [](const char* name) { return po::value<std::string>()->value_name(name); };
  po::options_description all(
      "moewe place: which rank should hold which experts, and how near that is to the best there can be\n\n"
      "  moewe place --loads loads.json --ranks 32 --slots-per-rank 9 --out map.json\n\n"
      "Reads how often each expert of each layer was chosen, places the experts in several ways, and prints "
      "for "
      "each "
      "the largest over the mean rank load: where copies of an expert share its load equally, and where it "
      "is "
      "split "
      "among them at best. Needs no MPI.\n\n"
      "Options");
  all.add_options()(
      "loads", value("FILE"),
      "a history of Moewe, JSON with logical_count as SGLang writes it, or a trace (safetensors "
      "topk_ids, npy)")("ranks", value("R"), "ranks of the cluster")(
      "slots-per-rank", value("S"), "experts that each rank holds of a layer, copies included")(
      "nodes", value("N"), "nodes of the cluster, of equally many neighbouring ranks (default 1)")(
      "groups", value("G"),
      "groups of equally many neighbouring experts, of which a token takes few; they are kept on a node each "
      "(default 1)")(
      "algorithm", value("NAME"),
      "moewe; robust: for loads that will have drifted; eplb; eplb-hierarchical; contiguous; without it, all "
      "that "
      "can be had are compared, and moewe's placement is written")(
      "from", value("MAP"),
      "the placement that is in use: moewe changes it as little as it takes, and what must arrive is "
      "counted")("target", value("F"),
                 "largest over mean rank load that is good enough for moewe (default 1.0005, with --from or "
                 "--groups 1.02)")("expert-bytes", value("SIZE"),
                                   "of one expert's weights, such as 44MB: arrivals are told in bytes, too")(
      "score", value("FILE"), "other loads of the same experts, by which placements are judged")(
      "cost", value("FILE"),
      "what rows, weights and links cost in time: how long a step takes is predicted, and with --nodes, but "
      "without --groups, on how many nodes a token has experts; with slowness of ranks, moewe and robust "
      "give "
      "slow ones less")("step-tokens", value("N"),
                        "that times are predicted for (default: as many as a window of the "
                        "loads has)")("experts", value("N"), "of a trace (default: as many as its ids need)")(
      "seed", value("N"), "of the drift that robust prepares for (default 1)")("out", value("MAP"),
                                                                               "write the placement")(
      "out-format", value("NAME"),
      "moewe (the default); sglang: physical_to_logical_map [layers][slots]; tensorrt-llm: YAML with "
      "initial_global_assignments. In the last two rank = slot div S")("json", value("FILE"),
                                                                       "write all figures as JSON")(
      "co-activation",
      "bring experts that the same tokens choose to the same node, or rank where there is one node, while "
      "the "
      "largest rank load stays within --target (default then 1.02); --loads must be a trace")(
      "plot", value("FILE"), "write them as a picture (SVG), layer by layer")("help,h", "show this text");
  return all;
}

std::string required_text(const OptionValues& values, const char* name, const char* what) {
  if (auto text = find_text(values, name)) return *text;
  throw InvalidInput(fmt::format("--{} {} is required; see moewe place --help", name, what));
}

std::size_t required_number(const OptionValues& values, const char* name, const char* what,
                            std::size_t most) {
  required_text(values, name, what);
  return static_cast<std::size_t>(find_number(values, name, 1, most).value());
}

Millionths parse_target(double target) {
  constexpr double million = 1e6;
  if (target < 1) throw InvalidInput("--target must be 1 or more: the largest rank load over the mean");
  return static_cast<Millionths>(std::llround(target * million));
}

void require_even(std::size_t whole, std::size_t parts, const char* whole_name, const char* parts_name) {
  if (whole % parts == 0) return;
  throw InvalidInput(
      fmt::format("--{} {} must be a multiple of --{} {}", whole_name, whole, parts_name, parts));
}

void check_together(const PlaceOptions& options, const OptionValues& values) {
  if (options.ranks * options.slots_per_rank > max_slots)
    throw InvalidInput(fmt::format("--ranks times --slots-per-rank must be at most {}", max_slots));
  require_even(options.ranks, options.nodes, "ranks", "nodes");
  if (values.count("out-format") > 0 && !options.out) throw InvalidInput("--out-format needs --out");
  if (options.co_activation && options.from)
    throw InvalidInput("--co-activation makes a placement anew and cannot be used with --from");
  if (options.co_activation && options.groups > 1)
    throw InvalidInput("--co-activation cannot be used with --groups, which already keep experts together");
  if (options.co_activation && options.algorithm && !is_planned(*options.algorithm))
    throw InvalidInput("--co-activation needs --algorithm moewe or robust");
  if (options.expert_bytes && !options.from) throw InvalidInput("--expert-bytes needs --from");
  if (options.step_tokens && !options.cost) throw InvalidInput("--step-tokens needs --cost");
  if (options.algorithm == PlaceAlgorithm::eplb_hierarchical &&
      (options.groups == 1 || options.groups % options.nodes != 0)) {
    throw InvalidInput(
        "--algorithm eplb-hierarchical needs --groups, as many as --nodes or a multiple of them");
  }
}

}  // namespace

PlaceOptions parse_place_options(const std::vector<std::string>& arguments) {
  const OptionValues values = parse_command_line(arguments, describe_place_options(), "moewe place");
  PlaceOptions options;
  options.help = values.count("help") > 0;
  if (options.help) return options;
  options.loads = required_text(values, "loads", "FILE");
  options.ranks = required_number(values, "ranks", "R", max_ranks);
  options.slots_per_rank = required_number(values, "slots-per-rank", "S", max_slots_per_rank);
  options.nodes = find_number(values, "nodes", 1, options.ranks).value_or(options.nodes);
  options.groups = find_number(values, "groups", 1, max_experts).value_or(options.groups);
  options.algorithm = find_choice(values, "algorithm", algorithm_choices);
  options.from = find_text(values, "from");
  if (const auto target = find_positive(values, "target", max_target)) options.target = parse_target(*target);
  options.expert_bytes = find_bytes(values, "expert-bytes");
  options.score = find_text(values, "score");
  options.cost = find_text(values, "cost");
  options.step_tokens = find_number(values, "step-tokens", 1, max_step_tokens);
  options.experts = find_number(values, "experts", 1, max_experts);
  options.seed = find_number(values, "seed", 0, UINT64_MAX).value_or(options.seed);
  options.co_activation = values.count("co-activation") > 0;
  options.out = find_text(values, "out");
  options.out_format = find_choice(values, "out-format", format_choices).value_or(options.out_format);
  options.json = find_text(values, "json");
  options.plot = find_text(values, "plot");
  check_together(options, values);
  return options;
}

std::string place_help() {
  std::ostringstream text;
  text << describe_place_options();
  return text.str();
}

bool is_planned(PlaceAlgorithm algorithm) {
  return algorithm == PlaceAlgorithm::moewe || algorithm == PlaceAlgorithm::robust;
}

const char* name_of(PlaceAlgorithm algorithm) { return name_of(algorithm_choices, algorithm); }

}  // namespace moewe
