#include "launch/place_result.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <numeric>

#include "launch/human.hpp"
#include "placement/bounds.hpp"
#include "placement/evaluation.hpp"
#include "placement/plan_groups.hpp"
#include "placement/source_split.hpp"
#include "placement/split.hpp"

namespace moewe {
namespace {

using Json = nlohmann::ordered_json;

/// Over layers.
struct Summary {
  double mean = 0;
  double p95 = 0;
  double worst = 0;
};

template <typename Value>
Summary summary_of(const PlaceContestant& contestant, Value&& value) {
  std::vector<double> values;
  for (const LayerScore& layer : contestant.layers) values.push_back(value(layer));
  std::sort(values.begin(), values.end());
  const auto count = static_cast<double>(values.size());
  const auto at_p95 = static_cast<std::size_t>(std::ceil(0.95 * count)) - 1;
  return {std::accumulate(values.begin(), values.end(), 0.0) / count, values[at_p95], values.back()};
}

Summary equal_of(const PlaceContestant& c) {
  return summary_of(c, [](const LayerScore& s) { return s.equal; });
}
Summary optimal_of(const PlaceContestant& c) {
  return summary_of(c, [](const LayerScore& s) { return s.optimal; });
}
Summary in_time_of(const PlaceContestant& c) {
  return summary_of(c, [](const LayerScore& s) { return s.in_time; });
}
bool has_speeds(const PlaceContestant& c) { return in_time_of(c).worst > 0; }

Summary over_bound_of(const PlaceContestant& c) {
  return summary_of(c, [](const LayerScore& s) { return s.over_bound(); });
}
Summary duplicates_of(const PlaceContestant& c) {
  return summary_of(c, [](const LayerScore& s) { return static_cast<double>(s.duplicates); });
}
Summary arrivals_of(const PlaceContestant& c) {
  return summary_of(c, [](const LayerScore& s) { return static_cast<double>(s.arrivals); });
}

Summary foreign_of(const PlaceContestant& c) {
  return summary_of(c, [](const LayerScore& s) { return static_cast<double>(s.foreign); });
}

Summary step_time_of(const PlaceContestant& c) {
  return summary_of(c, [](const LayerScore& s) { return s.step_s; });
}
Summary nodes_of(const PlaceContestant& c) {
  return summary_of(c, [](const LayerScore& s) { return s.nodes_per_token; });
}

Summary ranks_of(const PlaceContestant& c) {
  return summary_of(c, [](const LayerScore& s) { return s.ranks_per_token; });
}

/// Of all layers.
double total_step_s(const PlaceContestant& c) {
  return step_time_of(c).mean * static_cast<double>(c.layers.size());
}

/// Counts do not tell it where tokens take few groups of experts.
bool has_nodes_per_token(const PlaceOptions& options) {
  return options.co_activation || (options.cost && options.nodes > 1 && options.groups == 1);
}

std::uint64_t total_arrivals(const PlaceContestant& contestant) {
  std::uint64_t total = 0;
  for (const LayerScore& layer : contestant.layers) total += layer.arrivals;
  return total;
}

Json json_of(const Summary& summary) {
  return {{"mean", summary.mean}, {"p95", summary.p95}, {"worst", summary.worst}};
}

Json json_of(const LayerScore& layer, const PlaceOptions& options) {
  Json json{{"layer", layer.layer},
            {"equal_split", layer.equal},
            {"optimal_split", layer.optimal},
            {"bound", layer.bound},
            {"duplicates", layer.duplicates}};
  if (layer.in_time > 0) json["in_time"] = layer.in_time;
  if (options.from) json["arrivals"] = layer.arrivals;
  if (options.cost) json["step_time_s"] = layer.step_s;
  if (has_nodes_per_token(options)) json["nodes_per_token"] = layer.nodes_per_token;
  if (options.co_activation) json["ranks_per_token"] = layer.ranks_per_token;
  return json;
}

Json json_of(const PlaceContestant& contestant, const PlaceOptions& options) {
  Json json{
      {"name", contestant.name},
      {"imbalance",
       {{"equal_split", json_of(equal_of(contestant))}, {"optimal_split", json_of(optimal_of(contestant))}}},
      {"over_bound", json_of(over_bound_of(contestant))},
      {"duplicates_per_layer", duplicates_of(contestant).mean},
      {"planning_s", contestant.planning_s ? Json(*contestant.planning_s) : Json(nullptr)}};
  if (has_speeds(contestant)) json["imbalance"]["in_time"] = json_of(in_time_of(contestant));
  if (options.has_homes()) json["foreign_slots_per_layer"] = foreign_of(contestant).mean;
  if (options.cost) {
    json["step_time_s"] = json_of(step_time_of(contestant));
    json["step_time_s"]["total"] = total_step_s(contestant);
  }
  if (has_nodes_per_token(options)) json["nodes_per_token"] = json_of(nodes_of(contestant));
  if (options.co_activation) json["ranks_per_token"] = json_of(ranks_of(contestant));
  if (options.from) {
    json["arrivals"] = json_of(arrivals_of(contestant));
    json["arrivals"]["total"] = total_arrivals(contestant);
    if (options.expert_bytes) json["arrivals"]["bytes"] = total_arrivals(contestant) * *options.expert_bytes;
  }
  for (const LayerScore& layer : contestant.layers) json["layers"].push_back(json_of(layer, options));
  return json;
}

std::string text_of(const Summary& summary) {
  return fmt::format("{:>9.4f}{:>8.4f}{:>8.4f}", summary.mean, summary.p95, summary.worst);
}

std::string foreign_text(const PlaceContestant& contestant, const PlaceOptions& options) {
  return options.has_homes() ? fmt::format("{:>10.1f}", foreign_of(contestant).mean) : "";
}

std::string cost_text(const PlaceContestant& contestant, const PlaceOptions& options) {
  std::string text;
  if (options.cost) text += fmt::format("{:>12}", human_time(total_step_s(contestant)));
  if (has_nodes_per_token(options)) text += fmt::format("{:>13.3f}", nodes_of(contestant).mean);
  if (options.co_activation) text += fmt::format("{:>13.3f}", ranks_of(contestant).mean);
  return text;
}

std::string arrivals_text(const PlaceContestant& contestant, const PlaceOptions& options) {
  if (!options.from) return "";
  std::string text = fmt::format("{:>10.1f}", arrivals_of(contestant).mean);
  if (options.expert_bytes) {
    const std::uint64_t bytes = total_arrivals(contestant) * *options.expert_bytes;
    text += fmt::format("{:>11}", human(static_cast<double>(bytes), "B"));
  }
  return text;
}

std::string head_text(const PlaceResult& result) {
  const PlaceOptions& options = result.options;
  std::string text =
      fmt::format("{} layers of {} experts on {} ranks with {} slots each, {} node{}; loads of {}\n",
                  result.num_layers, result.num_experts, options.ranks, options.slots_per_rank, options.nodes,
                  options.nodes == 1 ? "" : "s", options.loads.string());
  if (options.score) text += fmt::format("judged by the loads of {}\n", options.score->string());
  if (options.co_activation)
    text += fmt::format("nodes and ranks per token counted on the tokens of {}\n", result.tokens);
  if (options.cost) {
    text += fmt::format("times predicted by the costs of {}, a step of {}\n", options.cost->string(),
                        options.step_tokens ? fmt::format("{} tokens", *options.step_tokens)
                                            : std::string("as many tokens as a window of the loads"));
  }
  return text + "largest over mean rank load, per layer: mean, p95 and worst\n";
}

void predict_time(const PlaceProblem& problem, std::size_t layer, const Placement& placement,
                  LayerScore& score) {
  const SourceSplit split = split_by_source(placement, problem.topology(), problem.step_counts(layer));
  const LayerTime time = layer_time(placement, problem.topology(), split, *problem.costs());
  score.step_s = static_cast<double>(time.longest) / 1e12;
  score.nodes_per_token = static_cast<double>(time.node_visits) /
                          static_cast<double>(token_parts * std::max<std::int64_t>(time.num_tokens, 1));
}

void count_tokens(const PlaceProblem& problem, std::size_t layer, const Placement& placement,
                  LayerScore& score) {
  const TokenReach reach = problem.tokens()->reach(placement, problem.topology(), layer);
  score.nodes_per_token = static_cast<double>(reach.nodes) / static_cast<double>(reach.tokens);
  score.ranks_per_token = static_cast<double>(reach.ranks) / static_cast<double>(reach.tokens);
}

double imbalance_in_time(const PlaceProblem& problem, const std::vector<std::int64_t>& loads,
                         const Placement& placement) {
  const std::int64_t total = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  return static_cast<double>(least_time(placement, loads, problem.speeds())) /
         static_cast<double>(problem.speeds().mean_time(total));
}

}  // namespace

LayerScore score_layer(const PlaceProblem& problem, std::size_t layer, const Placement& placement) {
  const std::vector<std::int64_t>& loads = problem.score(layer);
  const std::vector<std::size_t> slots(problem.options().ranks, problem.options().slots_per_rank);
  const double total = static_cast<double>(std::accumulate(loads.begin(), loads.end(), std::int64_t{0}));
  const double mean = total / static_cast<double>(problem.options().ranks);
  LayerScore score;
  score.layer = layer;
  score.equal = equal_split_imbalance(loads, placement);
  score.optimal = static_cast<double>(split_loads(placement, loads).largest) / mean;
  score.bound = static_cast<double>(load_bounds(loads, slots).largest()) / mean;
  if (!problem.speeds().are_equal()) score.in_time = imbalance_in_time(problem, loads, placement);
  score.duplicates = count_duplicates(placement);
  if (const Placement* from = problem.from(layer)) score.arrivals = count_arrivals(*from, placement);
  if (problem.costs() != nullptr) predict_time(problem, layer, placement, score);
  if (problem.tokens() != nullptr) count_tokens(problem, layer, placement, score);
  if (!problem.options().has_homes()) return score;
  const auto homes = home_nodes(placement, problem.topology(), problem.options().groups);
  score.foreign = count_foreign(placement, problem.topology(), homes);
  return score;
}

std::string place_json(const PlaceResult& result) {
  const PlaceOptions& options = result.options;
  Json json{{"format", 1},
            {"loads", options.loads.string()},
            {"score", options.score ? Json(options.score->string()) : Json(nullptr)},
            {"cost", options.cost ? Json(options.cost->string()) : Json(nullptr)},
            {"layers", result.num_layers},
            {"experts", result.num_experts},
            {"ranks", options.ranks},
            {"slots_per_rank", options.slots_per_rank},
            {"nodes", options.nodes},
            {"groups", options.groups},
            {"tokens", options.co_activation ? Json(result.tokens) : Json(nullptr)},
            {"algorithms", Json::array()}};
  for (const PlaceContestant& contestant : result.contestants)
    json["algorithms"].push_back(json_of(contestant, options));
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string place_text(const PlaceResult& result) {
  const PlaceOptions& options = result.options;
  std::string text = head_text(result);
  const bool in_time = has_speeds(result.contestants.front());
  text += fmt::format("  {:<18}{:>25}  {:>25}  {}{:>10}{:>12}", "", "equal split", "optimal split",
                      in_time ? fmt::format("{:>25}  ", "in time") : "", "over bound", "duplicates");
  if (options.has_homes()) text += fmt::format("{:>10}", "foreign");
  if (options.from) text += fmt::format("{:>10}", "arrivals");
  if (options.from && options.expert_bytes) text += fmt::format("{:>11}", "bytes");
  if (options.cost) text += fmt::format("{:>12}", "step time");
  if (has_nodes_per_token(options)) text += fmt::format("{:>13}", "nodes/token");
  if (options.co_activation) text += fmt::format("{:>13}", "ranks/token");
  text += fmt::format("{:>11}\n", "CPU time");
  for (const PlaceContestant& contestant : result.contestants) {
    text += fmt::format("  {:<18}{}  {}  {}{:>10.4f}{:>12.2f}{}{:>11}\n", contestant.name,
                        text_of(equal_of(contestant)), text_of(optimal_of(contestant)),
                        in_time ? text_of(in_time_of(contestant)) + "  " : "", over_bound_of(contestant).mean,
                        duplicates_of(contestant).mean,
                        foreign_text(contestant, options) + arrivals_text(contestant, options) +
                            cost_text(contestant, options),
                        contestant.planning_s ? human_time(*contestant.planning_s) : "-");
  }
  return text +
         "over bound: mean over layers of the optimal split over what no placement on these slots is below; "
         "duplicates, foreign (slots of experts whose group is at home on another node) and arrivals per "
         "layer; CPU time of planning all layers" +
         (in_time
              ? "; in time: the slowest rank's time, split for their speeds, over the least there could be"
              : "") +
         (options.cost ? "; step time of all layers, as if a token's experts were chosen independently\n"
                       : "\n");
}

}  // namespace moewe
