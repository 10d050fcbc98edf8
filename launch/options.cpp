#include "launch/options.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <set>
#include <sstream>

#include "comm/error.hpp"

namespace moewe {
namespace {

namespace po = boost::program_options;

constexpr std::size_t max_ranks = 1024;
constexpr std::size_t max_tokens = std::size_t{1} << 31;
constexpr std::size_t max_steps = 1'000'000'000;
constexpr std::size_t max_layers = 10'000;
constexpr double max_timeout_s = 1e6;

po::options_description describe_options() {
  const auto text = [](const char* name) { return po::value<std::string>()->value_name(name); };
  po::options_description model("Model and tokens");
  model.add_options()("checkpoint", text("DIR"), "folder with config.json and model.safetensors (required)")(
      "input", text("FILE"),
      "safetensors with layers.N.input [T, hidden]; where it also holds layers.N.output, .topk_ids or "
      ".topk_weights, the results are compared with them. Without it, tokens are generated")(
      "tokens", text("N"), "tokens per step, over all ranks; with --input its first N (default: all)")(
      "layers", text("LIST"), "layers to run, such as 0,2-3 (default: those of the input, else all)")(
      "steps", text("N"), "how many times to run all layers (default 1)")(
      "seed", text("N"), "seed of generated tokens (default 0)")(
      "output", text("FILE"), "write the last step's outputs, ids and weights as safetensors");
  po::options_description ranks("Ranks and exchange");
  ranks.add_options()("ranks", text("N"),
                      "run N ranks as threads of this process; under mpirun or srun omit it")(
      "threads", text("N"), "cores per rank (default: OMP_NUM_THREADS, else cores / ranks on the node)")(
      "placement", text("NAME"), "contiguous: expert e of E on rank floor(e * ranks / E) (the default)")(
      "path", text("NAME"),
      "auto: direct inside a node, message between nodes (the default); direct; message")(
      "dtype", text("NAME"), "f32: type of weights, rows and wire (the default)")(
      "timeout", text("SECONDS"), "end the job when a rank waits longer than this (default 120)");
  po::options_description results("Results");
  results.add_options()("verify", text("LEVEL"),
                        "ledger: prove in every step that no assignment is lost (the default); off")(
      "json", text("FILE"), "write all results as JSON")("help,h", "show this text");
  po::options_description all(
      "moewe run: execute the MoE layers of a checkpoint across ranks\n\n"
      "  mpirun -n 4 moewe run --checkpoint DIR --input FILE\n"
      "  moewe run --ranks 4 --checkpoint DIR --tokens 4096 --steps 10\n\nOptions");
  all.add(model).add(ranks).add(results);
  return all;
}

po::variables_map parse(const std::vector<std::string>& arguments) {
  const auto style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  po::variables_map values;
  try {
    const po::options_description known = describe_options();
    const auto parsed = po::command_line_parser(arguments).options(known).style(style).run();
    for (const po::option& option : parsed.options) {
      if (option.position_key >= 0)
        throw InvalidInput(fmt::format("'{}' belongs to no option", option.value.front()));
    }
    po::store(parsed, values);
  } catch (const po::error& error) {
    throw InvalidInput(fmt::format("{}; see moewe run --help", error.what()));
  }
  return values;
}

std::optional<std::string> find(const po::variables_map& values, const char* name) {
  if (values.count(name) == 0) return std::nullopt;
  auto text = values[name].as<std::string>();
  if (text.empty()) throw InvalidInput(fmt::format("--{} is empty", name));
  return text;
}

std::optional<std::uint64_t> parse_number(const std::string& text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, failure] = std::from_chars(text.data(), end, number);
  if (failure != std::errc{} || stopped != end) return std::nullopt;
  return number;
}

std::optional<std::uint64_t> find_number(const po::variables_map& values, const char* name,
                                         std::uint64_t least, std::uint64_t most) {
  const auto text = find(values, name);
  if (!text) return std::nullopt;
  const auto number = parse_number(*text);
  if (!number || *number < least || *number > most) {
    throw InvalidInput(
        fmt::format("--{} must be a whole number from {} to {}, not '{}'", name, least, most, *text));
  }
  return number;
}

template <typename T>
struct Choice {
  const char* name;
  T value;
};

/// The value of the choice that was named, or of the first one.
template <typename T>
T find_choice(const po::variables_map& values, const char* name, const std::vector<Choice<T>>& choices) {
  const auto text = find(values, name);
  if (!text) return choices.front().value;
  std::string known;
  for (const Choice<T>& choice : choices) {
    if (*text == choice.name) return choice.value;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", choice.name);
  }
  throw InvalidInput(fmt::format("--{} {} is not available; choose from: {}", name, *text, known));
}

const std::vector<Choice<PathRequest>> path_choices{
    {"auto", PathRequest::automatic}, {"direct", PathRequest::direct}, {"message", PathRequest::message}};
const std::vector<Choice<VerifyLevel>> verify_choices{{"ledger", VerifyLevel::ledger},
                                                      {"off", VerifyLevel::off}};

template <typename T>
std::string name_of(const std::vector<Choice<T>>& choices, T value) {
  const auto found =
      std::find_if(choices.begin(), choices.end(), [&](const auto& c) { return c.value == value; });
  return found->name;
}

double parse_timeout(const po::variables_map& values, double otherwise) {
  const auto text = find(values, "timeout");
  if (!text) return otherwise;
  std::istringstream stream(*text);
  double seconds = 0;
  stream >> seconds;
  if (!stream || !stream.eof() || !(seconds > 0) || seconds > max_timeout_s) {
    throw InvalidInput(fmt::format("--timeout must be a number of seconds above 0 and up to {}, not '{}'",
                                   max_timeout_s, *text));
  }
  return seconds;
}

[[noreturn]] void reject_layers(const std::string& text) {
  throw InvalidInput(
      fmt::format("--layers must be numbers and ranges such as 0,2-3, each layer once, not '{}'", text));
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
  const po::variables_map values = parse(arguments);
  RunOptions options;
  options.help = values.count("help") > 0;
  if (options.help) return options;

  const auto checkpoint = find(values, "checkpoint");
  if (!checkpoint) throw InvalidInput("--checkpoint DIR is required; see moewe run --help");
  options.checkpoint = *checkpoint;
  options.input = find(values, "input");
  options.output = find(values, "output");
  options.json = find(values, "json");
  if (const auto layers = find(values, "layers")) options.layers = parse_layers(*layers);
  options.tokens = find_number(values, "tokens", 0, max_tokens);
  if (!options.tokens && !options.input) throw InvalidInput("either --input FILE or --tokens N is required");
  options.steps = find_number(values, "steps", 1, max_steps).value_or(options.steps);
  options.seed = find_number(values, "seed", 0, UINT64_MAX).value_or(options.seed);
  options.ranks = find_number(values, "ranks", 1, max_ranks);
  options.threads = find_number(values, "threads", 1, max_ranks);
  options.path = find_choice(values, "path", path_choices);
  options.verify = find_choice(values, "verify", verify_choices);
  options.timeout_s = parse_timeout(values, options.timeout_s);
  find_choice<int>(values, "placement", {{"contiguous", 0}});
  find_choice<int>(values, "dtype", {{"f32", 0}});
  return options;
}

std::vector<std::string> RunOptions::shared_settings() const {
  return {fmt::format("--layers {}", layers ? fmt::format("{}", fmt::join(*layers, ",")) : "(default)"),
          fmt::format("--tokens {}", tokens ? std::to_string(*tokens) : "(default)"),
          fmt::format("--steps {}", steps),
          fmt::format("--seed {}", seed),
          fmt::format("--path {}", name_of(path_choices, path)),
          fmt::format("--verify {}", name_of(verify_choices, verify)),
          fmt::format("--timeout {}", timeout_s),
          fmt::format("--input {}", input ? "FILE" : "(none)"),
          fmt::format("--output {}", output ? "FILE" : "(none)")};
}

std::string run_help() {
  std::ostringstream text;
  text << describe_options();
  return text.str();
}

}  // namespace moewe
