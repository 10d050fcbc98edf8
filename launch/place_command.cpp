#include "launch/place_command.hpp"

#include <array>
#include <ctime>
#include <optional>
#include <utility>
#include <vector>

#include "comm/error.hpp"
#include "launch/commit_text.hpp"
#include "launch/console.hpp"
#include "launch/exit_code.hpp"
#include "launch/launcher.hpp"
#include "launch/place_options.hpp"
#include "launch/place_plot.hpp"
#include "launch/place_problem.hpp"
#include "launch/place_result.hpp"
#include "launch/place_score.hpp"
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
    if (out_) commit_text(*out_, text_of(map));
    if (json_) commit_text(*json_, place_json(result));
    if (plot_) commit_text(*plot_, place_plot(result));
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

  const PlaceOptions& options_;
  std::optional<AtomicFile> out_;
  std::optional<AtomicFile> json_;
  std::optional<AtomicFile> plot_;
};

/// A contestant with its placements, which are judged layer by layer with those of the others.
struct Candidate {
  PlaceContestant contestant;
  PlacementMap map;
};

double cpu_seconds_since(std::clock_t start) {
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

/// Places all layers that have load.
Candidate plan_all(const PlaceProblem& problem, PlaceAlgorithm algorithm) {
  Candidate planned{{name_of(algorithm), std::nullopt, {}}, {}};
  const std::clock_t start = std::clock();
  for (const std::size_t layer : problem.loaded_layers())
    planned.map.emplace(layer, problem.place(algorithm, layer));
  planned.contestant.planning_s = cpu_seconds_since(start);
  return planned;
}

/// The same with experts that tokens choose together on the same nodes.
Candidate bring_together(const PlaceProblem& problem, const Candidate& planned) {
  Candidate together{{planned.contestant.name + " co-active", std::nullopt, {}}, planned.map};
  const std::clock_t start = std::clock();
  for (auto& [layer, placement] : together.map) placement = problem.together(placement, layer);
  together.contestant.planning_s = cpu_seconds_since(start);
  return together;
}

Candidate in_use(const PlaceProblem& problem) {
  Candidate current{{"in use", std::nullopt, {}}, {}};
  for (const std::size_t layer : problem.loaded_layers()) current.map.emplace(layer, *problem.from(layer));
  return current;
}

void judge(const PlaceProblem& problem, std::vector<Candidate>& candidates) {
  for (const std::size_t layer : problem.loaded_layers()) {
    const LayerJudge judge(problem, layer);
    for (Candidate& candidate : candidates)
      candidate.contestant.layers.push_back(judge.score(candidate.map.at(layer)));
  }
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
  std::vector<Candidate> candidates;
  PlacementMap chosen;
  if (options.from) candidates.push_back(in_use(problem));
  for (const PlaceAlgorithm algorithm : problem.algorithms()) {
    candidates.push_back(plan_all(problem, algorithm));
    if (options.co_activation && is_planned(algorithm))
      candidates.push_back(bring_together(problem, candidates.back()));
    if (algorithm == options.algorithm.value_or(PlaceAlgorithm::moewe)) chosen = candidates.back().map;
  }
  judge(problem, candidates);
  PlaceResult result{
      options, problem.loaded_layers().size(), problem.num_experts(), problem.judged_tokens(), {}};
  for (Candidate& candidate : candidates) result.contestants.push_back(std::move(candidate.contestant));
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
