#include "launch/place_command.hpp"

#include <array>
#include <ctime>
#include <optional>
#include <span>
#include <utility>

#include "comm/error.hpp"
#include "launch/console.hpp"
#include "launch/exit_code.hpp"
#include "launch/launcher.hpp"
#include "launch/place_options.hpp"
#include "launch/place_plot.hpp"
#include "launch/place_problem.hpp"
#include "launch/place_result.hpp"
#include "launch/placement_map.hpp"
#include "runtime/atomic_file.hpp"
#include "runtime/write_target.hpp"

namespace moewe {
namespace {

/// Begun before the work, so that what cannot be written is said at once.
class PlaceFiles {
 public:
  explicit PlaceFiles(const PlaceOptions& options) : options_(options) {
    refuse_to_overwrite();
    if (options.out) out_.emplace(*options.out);
    if (options.json) json_.emplace(*options.json);
    if (options.plot) plot_.emplace(*options.plot);
  }

  void write(const PlaceResult& result, const PlacementMap& map) {
    if (out_) write_text(*out_, text_of(map));
    if (json_) write_text(*json_, place_json(result));
    if (plot_) write_text(*plot_, place_plot(result));
  }

 private:
  void refuse_to_overwrite() const {
    const std::array written{options_.out, options_.json, options_.plot};
    for (std::size_t i = 0; i < written.size(); ++i) {
      if (!written[i]) continue;
      for (const auto& read : {std::optional(options_.loads), options_.score, options_.from, options_.cost}) {
        if (read && name_one_file(*written[i], *read))
          throw InvalidInput(written[i]->string() + ": is read here and cannot be written");
      }
      for (std::size_t other = 0; other < i; ++other) {
        if (written[other] && name_one_file(*written[i], *written[other]))
          throw InvalidInput(written[i]->string() + ": is named as two files to write");
      }
    }
  }

  std::string text_of(const PlacementMap& map) const {
    switch (options_.out_format) {
      case MapFormat::sglang:
        return sglang_map(map);
      case MapFormat::tensorrt_llm:
        return tensorrt_map(map);
      case MapFormat::moewe:
        break;
    }
    return moewe_map(map);
  }

  static void write_text(AtomicFile& file, const std::string& text) {
    file.append(std::as_bytes(std::span(text)));
    file.commit();
  }

  const PlaceOptions& options_;
  std::optional<AtomicFile> out_;
  std::optional<AtomicFile> json_;
  std::optional<AtomicFile> plot_;
};

/// Places all layers that have load, and judges that. The placements go to `map`.
PlaceContestant run_algorithm(const PlaceProblem& problem, PlaceAlgorithm algorithm, PlacementMap& map) {
  PlaceContestant contestant{name_of(algorithm), std::nullopt, {}};
  const std::clock_t start = std::clock();
  for (const std::size_t layer : problem.loaded_layers()) map.emplace(layer, problem.place(algorithm, layer));
  contestant.planning_s = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  for (const auto& [layer, placement] : map)
    contestant.layers.push_back(score_layer(problem, layer, placement));
  return contestant;
}

/// The same with experts that tokens choose together on the same nodes.
PlaceContestant run_together(const PlaceProblem& problem, PlaceAlgorithm algorithm, PlacementMap& map) {
  PlaceContestant contestant{name_of(algorithm) + std::string(" co-active"), std::nullopt, {}};
  const std::clock_t start = std::clock();
  for (auto& [layer, placement] : map) placement = problem.together(placement, layer);
  contestant.planning_s = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  for (const auto& [layer, placement] : map)
    contestant.layers.push_back(score_layer(problem, layer, placement));
  return contestant;
}

PlaceContestant judge_current(const PlaceProblem& problem) {
  PlaceContestant contestant{"in use", std::nullopt, {}};
  for (const std::size_t layer : problem.loaded_layers())
    contestant.layers.push_back(score_layer(problem, layer, *problem.from(layer)));
  return contestant;
}

/// With those layers of which nothing is known, as some readers want all: TensorRT-LLM does not.
void add_unloaded_layers(const PlaceProblem& problem, PlacementMap& map) {
  const PlaceOptions& options = problem.options();
  if (options.out_format == MapFormat::tensorrt_llm) return;
  for (std::size_t layer = 0; layer < problem.num_layers(); ++layer) {
    if (const Placement* from = problem.from(layer)) map.emplace(layer, *from);
    map.emplace(layer, contiguous_with_spares(problem.num_experts(), options.ranks, options.slots_per_rank));
  }
}

void place(const PlaceOptions& options) {
  const PlaceProblem problem(options);
  PlaceFiles files(options);
  PlaceResult result{
      options, problem.loaded_layers().size(), problem.num_experts(), problem.judged_tokens(), {}};
  if (options.from) result.contestants.push_back(judge_current(problem));
  PlacementMap chosen;
  for (const PlaceAlgorithm algorithm : problem.algorithms()) {
    PlacementMap map;
    result.contestants.push_back(run_algorithm(problem, algorithm, map));
    if (options.co_activation && is_planned(algorithm))
      result.contestants.push_back(run_together(problem, algorithm, map));
    if (algorithm == options.algorithm.value_or(PlaceAlgorithm::moewe)) chosen = std::move(map);
  }
  add_unloaded_layers(problem, chosen);
  files.write(result, chosen);
  print_text(place_text(result));
}

}  // namespace

int place_command(const std::vector<std::string>& arguments) {
  if (!is_first_process()) return static_cast<int>(ExitCode::done);
  const PlaceOptions options = parse_place_options(arguments);
  if (options.help) {
    print_text(place_help());
  } else {
    place(options);
  }
  return static_cast<int>(ExitCode::done);
}

}  // namespace moewe
