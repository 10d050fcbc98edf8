#include "launch/options.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <set>
#include <sstream>

#include "launch/cores.hpp"
#include "launch/option_values.hpp"
#include "launch/placement_options.hpp"
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

// The first of each is the default.
const Choices<PathRequest> path_choices{{"auto", PathRequest::automatic},
                                        {"direct", PathRequest::direct},
                                        {"message", PathRequest::message},
                                        {"two-level", PathRequest::two_level}};
const Choices<CarrierRequest> carrier_choices{{"auto", CarrierRequest::automatic},
                                              {"mpi", CarrierRequest::mpi},
                                              {"ucx", CarrierRequest::ucx},
                                              {"nccl", CarrierRequest::nccl}};
const Choices<Calibrate> calibrate_choices{
    {"cached", Calibrate::cached}, {"fresh", Calibrate::fresh}, {"off", Calibrate::off}};
const Choices<OverlapMode> overlap_choices{
    {"shared", OverlapMode::shared}, {"off", OverlapMode::off}, {"half", OverlapMode::half}};
const Choices<DeviceRequest> device_choices{{"cpu", DeviceRequest::cpu},
                                            {"gpu", DeviceRequest::gpu},
                                            {"auto", DeviceRequest::automatic},
                                            {"emulated", DeviceRequest::emulated}};
const Choices<DeviceMode> device_mode_choices{{"eager", DeviceMode::eager}, {"graph", DeviceMode::graph}};
const Choices<VerifyLevel> verify_choices{
    {"ledger", VerifyLevel::ledger}, {"audit", VerifyLevel::audit}, {"off", VerifyLevel::off}};
const Choices<Dtype> dtype_choices{{"f32", Dtype::f32}, {"bf16", Dtype::bf16}};
const Choices<Combine> combine_choices{{"reproducible", Combine::reproducible}, {"fast", Combine::fast}};
const Choices<SplitMode> split_choices{{"exact", SplitMode::exact}, {"stored", SplitMode::stored}};
const Choices<Activation> activation_choices{
    {"silu", Activation::silu}, {"gelu", Activation::gelu}, {"relu", Activation::relu}};
const Choices<CapacityRule> rule_choices{{"megatron", CapacityRule::megatron},
                                         {"deepspeed", CapacityRule::deepspeed},
                                         {"vmoe", CapacityRule::vmoe},
                                         {"flaxformer", CapacityRule::flaxformer},
                                         {"mesh", CapacityRule::mesh}};
const Choices<OverflowPolicy> overflow_choices{{"drop-last", OverflowPolicy::drop_last},
                                               {"drop-lowest-weight", OverflowPolicy::drop_lowest_weight},
                                               {"next-choice", OverflowPolicy::next_choice},
                                               {"error", OverflowPolicy::error}};

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
  spec.expert = {size("hidden"), size("intermediate"), find_choice(values, "activation", activation_choices),
                 true};
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
  CapacityOptions capacity{find_choice(values, "capacity-rule", rule_choices), *factor,
                           find_choice(values, "overflow", overflow_choices), values.count("renormalise") > 0,
                           values.count("fair-capacity") > 0};
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

}  // namespace

RoutingChoice parse_routing(const std::string& text) {
  if (text == "router") return {};
  constexpr std::string_view trace = "trace:";
  if (text.rfind(trace, 0) != 0) return {.forced = parse_forced_routing(text), .trace = {}};
  const std::string file = text.substr(trace.size());
  if (file.empty()) throw InvalidInput("--routing trace:FILE needs a file");
  return {.forced = {}, .trace = file};
}

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
  options.input = find_text(values, "input");
  options.output = find_text(values, "output");
  options.json = find_text(values, "json");
  options.timeline = find_text(values, "timeline");
  if (const auto layers = find_text(values, "layers")) options.layers = parse_layers(*layers);
  parse_tokens(values, options);
  options.steps = find_number(values, "steps", 1, max_steps).value_or(options.steps);
  options.seed = find_number(values, "seed", 0, UINT64_MAX).value_or(options.seed);
  options.layer = {find_choice(values, "dtype", dtype_choices),
                   find_choice(values, "combine", combine_choices), parse_capacity(values)};
  options.layer.split = find_choice(values, "split", split_choices);
  options.ranks = find_number(values, "ranks", 1, max_ranks);
  options.threads = find_number(values, "threads", 1, max_threads);
  options.memory_limit = find_bytes(values, "memory-limit");
  options.exchange = {find_choice(values, "path", path_choices),
                      find_choice(values, "carrier", carrier_choices),
                      find_choice(values, "calibrate", calibrate_choices)};
  options.overlap = find_choice(values, "overlap", overlap_choices);
  options.layer.overlap = options.overlap != OverlapMode::off;
  options.verify = find_choice(values, "verify", verify_choices);
  options.device = find_choice(values, "device", device_choices);
  options.device_mode = find_choice(values, "device-mode", device_mode_choices);
  options.timeout_s = find_positive(values, "timeout", max_timeout_s).value_or(options.timeout_s);
  options.resume = values.count("resume") > 0;
  require_with(values, options.output.has_value(), "--output FILE", {"resume"});
  parse_placement_options(values, options);
  check_split(options);
  require_scores(options);
  require_whole_steps(options);
  check_device(options);
  return options;
}

std::vector<std::string> RunOptions::shared_settings() const {
  const auto number = [](const char* name, const auto& value) {
    return fmt::format("--{} {}", name, value ? std::to_string(*value) : "(default)");
  };
  const auto file = [](const char* name, const auto& given) {
    return fmt::format("--{} {}", name, given ? "FILE" : "(none)");
  };
  const LayerSpec custom = model.custom.value_or(LayerSpec{});
  return {file("checkpoint", model.checkpoint),
          fmt::format("--model {}", model.custom ? "custom" : model.preset.value_or("(none)")),
          fmt::format("--hidden {}", custom.expert.hidden),
          fmt::format("--intermediate {}", custom.expert.intermediate),
          fmt::format("--experts {}", custom.num_experts),
          fmt::format("--topk {}", custom.router.top_k),
          fmt::format("--activation {}", name_of(activation_choices, custom.expert.activation)),
          fmt::format("--two-matrix {}", !custom.expert.gated),
          fmt::format("--layers {}", layers ? fmt::format("{}", fmt::join(*layers, ",")) : "(default)"),
          number("tokens", tokens),
          number("tokens-per-rank", tokens_per_rank),
          fmt::format("--steps {}", steps),
          fmt::format("--seed {}", seed),
          fmt::format("--routing {}", routing.trace ? "trace:FILE" : describe(routing)),
          fmt::format("--dtype {}", name_of(layer.dtype)),
          fmt::format("--combine {}", name_of(layer.combine)),
          layer.capacity ? describe(layer.capacity) : "--capacity-factor (none)",
          number("memory-limit", memory_limit),
          fmt::format("--path {}", name_of(path_choices, exchange.path)),
          fmt::format("--carrier {}", name_of(carrier_choices, exchange.carrier)),
          fmt::format("--calibrate {}", name_of(exchange.calibrate)),
          fmt::format("--overlap {}", name_of(overlap)),
          fmt::format("--verify {}", name_of(verify)),
          fmt::format("--split {}", name_of(split_choices, layer.split)),
          fmt::format("--device {}", name_of(device_choices, device)),
          fmt::format("--device-mode {}", name_of(device_mode)),
          fmt::format("--timeout {}", timeout_s),
          fmt::format("--placement {}", placement         ? "FILE"
                                        : plans_placement ? "(planned)"
                                                          : "contiguous"),
          file("loads", loads),
          file("save-placement", save_placement),
          file("save-loads", save_loads),
          fmt::format("--rebalance {}", describe(rebalance)),
          fmt::format("--measure {}", describe_measure(rebalance)),
          file("cost", cost),
          fmt::format("--spare-slots {}", rebalance.spare_slots),
          rebalance.budget_bytes == 0 ? "--migration-budget auto"
                                      : fmt::format("--migration-budget {}", rebalance.budget_bytes),
          file("input", input),
          file("output", output),
          fmt::format("--resume {}", resume),
          file("json", json),
          file("timeline", timeline)};
}

std::string run_help() {
  std::ostringstream text;
  text << describe_run_options();
  return text.str();
}

std::string describe(const RoutingChoice& routing) {
  if (routing.trace) return "trace:" + routing.trace->string();
  return routing.forced ? describe(*routing.forced) : "router";
}

std::string describe(const std::optional<CapacityOptions>& capacity) {
  if (!capacity) return "none (dropless)";
  return fmt::format("--capacity-factor {} --capacity-rule {} --overflow {}{}{}", capacity->factor,
                     name_of(capacity->rule), name_of(capacity->policy),
                     capacity->renormalise ? " --renormalise" : "",
                     capacity->is_fair ? " --fair-capacity" : "");
}

const char* name_of(CapacityRule rule) { return name_of(rule_choices, rule); }
const char* name_of(OverflowPolicy policy) { return name_of(overflow_choices, policy); }
Combine parse_combine(const std::string& text) { return parse_choice("combine", text, combine_choices); }
const char* name_of(Combine combine) { return name_of(combine_choices, combine); }
Calibrate parse_calibrate(const std::string& text) {
  return parse_choice("calibrate", text, calibrate_choices);
}
const char* name_of(Calibrate calibrate) { return name_of(calibrate_choices, calibrate); }
const char* name_of(PathRequest path) { return name_of(path_choices, path); }
const char* name_of(CarrierRequest carrier) { return name_of(carrier_choices, carrier); }
PathRequest parse_path(const std::string& text) { return parse_choice("path", text, path_choices); }
CarrierRequest parse_carrier(const std::string& text) {
  return parse_choice("carrier", text, carrier_choices);
}
const char* name_of(OverlapMode mode) { return name_of(overlap_choices, mode); }

}  // namespace moewe
