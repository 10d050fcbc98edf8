#include <nlohmann/json.hpp>

#include "launch/place_result.hpp"

namespace moewe {
namespace {

using Json = nlohmann::ordered_json;

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
  const Summary in_time = summary_of(contestant, &LayerScore::in_time);
  Json json{{"name", contestant.name},
            {"imbalance",
             {{"equal_split", json_of(summary_of(contestant, &LayerScore::equal))},
              {"optimal_split", json_of(summary_of(contestant, &LayerScore::optimal))}}},
            {"over_bound", json_of(summary_of(contestant, &LayerScore::over_bound))},
            {"duplicates_per_layer", summary_of(contestant, &LayerScore::duplicates).mean},
            {"planning_s", contestant.planning_s ? Json(*contestant.planning_s) : Json(nullptr)}};
  if (in_time.worst > 0) json["imbalance"]["in_time"] = json_of(in_time);
  if (options.has_homes())
    json["foreign_slots_per_layer"] = summary_of(contestant, &LayerScore::foreign).mean;
  if (options.cost) {
    json["step_time_s"] = json_of(summary_of(contestant, &LayerScore::step_s));
    json["step_time_s"]["total"] = total_step_s(contestant);
  }
  if (has_nodes_per_token(options))
    json["nodes_per_token"] = json_of(summary_of(contestant, &LayerScore::nodes_per_token));
  if (options.co_activation)
    json["ranks_per_token"] = json_of(summary_of(contestant, &LayerScore::ranks_per_token));
  if (options.from) {
    json["arrivals"] = json_of(summary_of(contestant, &LayerScore::arrivals));
    json["arrivals"]["total"] = total_arrivals(contestant);
    if (options.expert_bytes) json["arrivals"]["bytes"] = total_arrivals(contestant) * *options.expert_bytes;
  }
  for (const LayerScore& layer : contestant.layers) json["layers"].push_back(json_of(layer, options));
  return json;
}

}  // namespace

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

}  // namespace moewe
