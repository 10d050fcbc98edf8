#include "launch/options.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <set>
#include <sstream>

#include "launch/cores.hpp"
#include "launch/exchange_options.hpp"
#include "launch/option_values.hpp"
#include "launch/parse_number.hpp"
#include "launch/placement_options.hpp"
#include "launch/run_choices.hpp"
#include "launch/run_help.hpp"
#include "runtime/model_config.hpp"
#include "runtime/presets.hpp"

namespace moewe {
namespace {

constexpr std::size_t max_ranks = 1024;
constexpr std::size_t max_tokens = std::size_t{1} << 31;
constexpr std::size_t max_steps = 1'000'000'000;
constexpr std::size_t max_layers = 10'000;
constexpr std::size_t max_size = std::size_t{1} << 20;
constexpr double max_timeout_s = 1e6;
constexpr double max_capacity_factor = 1e6;

[[noreturn]] void reject_layers(const std::string& text) {
  throw InvalidInput(
      fmt::format("--layers must be numbers and ranges such as 0,2-3, each layer once, not '{}'", text));
}

LayerSpec parse_custom(const OptionValues& values) {
  const auto size = [&](const char* name) {
    const auto number = find_number(values, name, 1, max_size);
    if (!number) throw InvalidInput(fmt::format("--model custom needs --{} N", name));
    return static_cast<std::size_t>(*number);
  };
  LayerSpec spec;
  spec.expert.hidden = size("hidden");
  spec.expert.intermediate = size("intermediate");
  spec.expert.activation =
      find_choice(values, "activation", activation_choices).value_or(spec.expert.activation);
  spec.expert.gated = spec.expert.activation != Activation::relu && values.count("two-matrix") == 0;
  spec.num_experts = size("experts");
  spec.router.top_k = size("topk");
  check_layer_spec(spec, "--model custom");
  return spec;
}

void require_preset(const std::string& name) {
  const std::vector<std::string> known = preset_names();
  if (std::find(known.begin(), known.end(), name) != known.end()) return;
  throw InvalidInput(
      fmt::format("--model {} is not available; choose from: {}, custom", name, fmt::join(known, ", ")));
}

ModelChoice parse_model(const OptionValues& values) {
  exclude_both(values, "checkpoint", "model");
  ModelChoice choice;
  choice.checkpoint = find_text(values, "checkpoint");
  const auto model = find_text(values, "model");
  const bool is_custom = model == "custom";
  require_with(values, is_custom, "--model custom",
               {"hidden", "intermediate", "experts", "topk", "activation", "two-matrix"});
  if (is_custom) {
    choice.custom = parse_custom(values);
  } else if (model) {
    require_preset(*model);
    choice.preset = model;
  }
  if (!choice.checkpoint && !model) {
    throw InvalidInput("either --checkpoint DIR or --model NAME is required; see moewe run --help");
  }
  return choice;
}

std::optional<CapacityOptions> parse_capacity(const OptionValues& values) {
  const auto factor = find_positive(values, "capacity-factor", max_capacity_factor);
  require_with(values, factor.has_value(), "--capacity-factor",
               {"capacity-rule", "overflow", "renormalise", "fair-capacity"});
  if (!factor) return std::nullopt;
  CapacityOptions capacity;
  capacity.rule = find_choice(values, "capacity-rule", rule_choices).value_or(capacity.rule);
  capacity.factor = *factor;
  capacity.policy = find_choice(values, "overflow", overflow_choices).value_or(capacity.policy);
  capacity.renormalise = values.count("renormalise") > 0;
  capacity.is_fair = values.count("fair-capacity") > 0;
  try {
    check_capacity(capacity);
  } catch (const InvalidInput& failure) {
    throw InvalidInput(
        fmt::format("--fair-capacity needs --overflow drop-last or drop-lowest-weight: {}", failure.what()));
  }
  return capacity;
}

void parse_tokens(const OptionValues& values, RunOptions& options) {
  exclude_both(values, "tokens", "tokens-per-rank");
  options.tokens = find_number(values, "tokens", 0, max_tokens);
  options.tokens_per_rank = find_number(values, "tokens-per-rank", 0, max_tokens);
  const bool is_known = options.tokens || options.tokens_per_rank || options.input || options.routing.trace;
  if (!is_known) throw InvalidInput("one of --input FILE, --tokens N and --tokens-per-rank N is required");
}

void check_split(const RunOptions& options) {
  if (options.layer.split == SplitMode::exact) return;
  if (options.layer.capacity)
    throw InvalidInput("--split stored and --capacity-factor contradict each other");
  if (options.resume && options.layer.combine == Combine::fast) {
    throw InvalidInput(
        "--resume and --split stored contradict each other with --combine fast, whose sums depend on the "
        "steps before");
  }
}

void require_scores(const RunOptions& options) {
  const auto& capacity = options.layer.capacity;
  if (!options.routing.is_forced() || !capacity || capacity->policy != OverflowPolicy::next_choice) return;
  throw InvalidInput(
      "--overflow next-choice needs the scores of a router, which a forced --routing does not have");
}

/// A capacity is one of all tokens of a step.
void require_whole_steps(const RunOptions& options) {
  if (!options.layer.capacity || parts_of_step(options.overlap) == 1) return;
  throw InvalidInput(
      "--overlap half and --capacity-factor contradict each other: the capacity is one of all tokens of a "
      "step");
}

void parse_files(const OptionValues& values, RunOptions& options) {
  options.input = find_text(values, "input");
  options.output = find_text(values, "output");
  options.json = find_text(values, "json");
  options.timeline = find_text(values, "timeline");
}

void parse_layer_options(const OptionValues& values, LayerOptions& layer) {
  layer.dtype = find_choice(values, "dtype", dtype_choices).value_or(layer.dtype);
  layer.combine = find_choice(values, "combine", combine_choices).value_or(layer.combine);
  layer.capacity = parse_capacity(values);
  layer.split = find_choice(values, "split", split_choices).value_or(layer.split);
}

void check_together(const RunOptions& options) {
  check_split(options);
  require_scores(options);
  require_whole_steps(options);
  check_device(options);
}

}  // namespace

std::vector<std::size_t> parse_layers(const std::string& text) {
  std::set<std::size_t> layers;
  std::istringstream stream(text + ",");
  for (std::string item; std::getline(stream, item, ',');) {
    const std::size_t dash = item.find('-');
    const auto first = parse_number(item.substr(0, dash));
    const auto last = dash == std::string::npos ? first : parse_number(item.substr(dash + 1));
    if (!first || !last || *first > *last || *last >= max_layers) reject_layers(text);
    for (std::size_t layer = *first; layer <= *last; ++layer) {
      if (!layers.insert(layer).second) reject_layers(text);
    }
  }
  return {layers.begin(), layers.end()};
}

RunOptions parse_run_options(const std::vector<std::string>& arguments) {
  const OptionValues values = parse_command_line(arguments, describe_run_options(), "moewe run");
  RunOptions options;
  options.help = values.count("help") > 0;
  if (options.help) return options;

  options.model = parse_model(values);
  options.routing = parse_routing(find_text(values, "routing").value_or("router"));
  parse_files(values, options);
  if (const auto layers = find_text(values, "layers")) options.layers = parse_layers(*layers);
  parse_tokens(values, options);
  options.steps = find_number(values, "steps", 1, max_steps).value_or(options.steps);
  options.seed = find_number(values, "seed", 0, UINT64_MAX).value_or(options.seed);
  parse_layer_options(values, options.layer);
  options.ranks = find_number(values, "ranks", 1, max_ranks);
  options.threads = find_number(values, "threads", 1, max_threads);
  options.memory_limit = find_bytes(values, "memory-limit");
  options.exchange = parse_exchange(values);
  options.overlap = find_choice(values, "overlap", overlap_choices).value_or(options.overlap);
  options.layer.overlap = options.overlap != OverlapMode::off;
  options.verify = find_choice(values, "verify", verify_choices).value_or(options.verify);
  options.device = find_choice(values, "device", device_choices).value_or(options.device);
  options.device_mode = find_choice(values, "device-mode", device_mode_choices).value_or(options.device_mode);
  options.timeout_s = find_positive(values, "timeout", max_timeout_s).value_or(options.timeout_s);
  options.resume = values.count("resume") > 0;
  require_with(values, options.output.has_value(), "--output FILE", {"resume"});
  parse_placement_options(values, options);
  check_together(options);
  return options;
}

std::string run_help() {
  std::ostringstream text;
  text << describe_run_options();
  return text.str();
}

}  // namespace moewe
