#include <fmt/format.h>

#include "launch/human.hpp"
#include "launch/place_result.hpp"

namespace moewe {
namespace {

std::string text_of(const Summary& summary) {
  return fmt::format("{:>9.4f}{:>8.4f}{:>8.4f}", summary.mean, summary.p95, summary.worst);
}

std::string foreign_text(const PlaceContestant& contestant, const PlaceOptions& options) {
  return options.has_homes() ? fmt::format("{:>10.1f}", summary_of(contestant, &LayerScore::foreign).mean)
                             : "";
}

std::string cost_text(const PlaceContestant& contestant, const PlaceOptions& options) {
  std::string text;
  if (options.cost) text += fmt::format("{:>12}", human_time(total_step_s(contestant)));
  if (has_nodes_per_token(options))
    text += fmt::format("{:>13.3f}", summary_of(contestant, &LayerScore::nodes_per_token).mean);
  if (options.co_activation)
    text += fmt::format("{:>13.3f}", summary_of(contestant, &LayerScore::ranks_per_token).mean);
  return text;
}

std::string arrivals_text(const PlaceContestant& contestant, const PlaceOptions& options) {
  if (!options.from) return "";
  std::string text = fmt::format("{:>10.1f}", summary_of(contestant, &LayerScore::arrivals).mean);
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

std::string columns_text(const PlaceResult& result) {
  const PlaceOptions& options = result.options;
  std::string text =
      fmt::format("  {:<18}{:>25}  {:>25}  {}{:>10}{:>12}", "", "equal split", "optimal split",
                  has_speeds(result) ? fmt::format("{:>25}  ", "in time") : "", "over bound", "duplicates");
  if (options.has_homes()) text += fmt::format("{:>10}", "foreign");
  if (options.from) text += fmt::format("{:>10}", "arrivals");
  if (options.from && options.expert_bytes) text += fmt::format("{:>11}", "bytes");
  if (options.cost) text += fmt::format("{:>12}", "step time");
  if (has_nodes_per_token(options)) text += fmt::format("{:>13}", "nodes/token");
  if (options.co_activation) text += fmt::format("{:>13}", "ranks/token");
  return text + fmt::format("{:>11}\n", "CPU time");
}

/// In the columns above.
std::string row_text(const PlaceContestant& contestant, const PlaceResult& result) {
  const PlaceOptions& options = result.options;
  std::string text =
      fmt::format("  {:<18}{}  {}  ", contestant.name, text_of(summary_of(contestant, &LayerScore::equal)),
                  text_of(summary_of(contestant, &LayerScore::optimal)));
  if (has_speeds(result)) text += text_of(summary_of(contestant, &LayerScore::in_time)) + "  ";
  text += fmt::format("{:>10.4f}{:>12.2f}", summary_of(contestant, &LayerScore::over_bound).mean,
                      summary_of(contestant, &LayerScore::duplicates).mean);
  text +=
      foreign_text(contestant, options) + arrivals_text(contestant, options) + cost_text(contestant, options);
  return text + fmt::format("{:>11}\n", contestant.planning_s ? human_time(*contestant.planning_s) : "-");
}

std::string legend_text(const PlaceResult& result) {
  std::string text =
      "over bound: mean over layers of the optimal split over what no placement on these slots is below; "
      "duplicates, foreign (slots of experts whose group is at home on another node) and arrivals per "
      "layer; CPU time of planning all layers";
  if (has_speeds(result))
    text += "; in time: the slowest rank's time, split for their speeds, over the least there could be";
  if (result.options.cost)
    text += "; step time of all layers, as if a token's experts were chosen independently";
  return text + "\n";
}

}  // namespace

std::string place_text(const PlaceResult& result) {
  std::string text = head_text(result) + columns_text(result);
  for (const PlaceContestant& contestant : result.contestants) text += row_text(contestant, result);
  return text + legend_text(result);
}

}  // namespace moewe
