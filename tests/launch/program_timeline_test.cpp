// What a run records of its steps.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <map>

#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"

namespace moewe {
namespace {

using nlohmann::json;
using test::Ranks;
using test::shipped;
using test::TemporaryFolder;

constexpr std::size_t num_phases = 6;
constexpr std::size_t num_layers = 2;

/// The results of a run with a timeline, and that.
struct Recorded {
  json results;
  json timeline;
};

Recorded record(Ranks ranks, const std::string& more) {
  const TemporaryFolder folder;
  const std::string file = (folder / "timeline").string();
  Recorded recorded;
  recorded.results =
      test::results_of(ranks, shipped().run() + " --tokens 60 " + more + " --timeline " + file);
  recorded.timeline = test::read_json(file);
  return recorded;
}

std::vector<json> events_in(const json& timeline, const std::string& category) {
  std::vector<json> found;
  for (const json& event : timeline["traceEvents"])
    if (event.value("cat", "") == category) found.push_back(event);
  return found;
}

/// What of one step, layer and rank is on its track.
using Key = std::tuple<int, int, int>;  // rank's thread, step, layer
Key key_of(const json& event) { return {event["tid"], event["args"]["step"], event["args"]["layer"]}; }

/// Phases follow one another within their step; steps of a rank follow one another.
void expect_tracks_without_overlap(const json& timeline) {
  constexpr double rounding = 1e-4;  // of large doubles, in microseconds
  std::map<Key, double> begins, ends;
  std::map<int, double> end_of_rank;
  for (const json& step : events_in(timeline, "step")) {
    const double begin = step["ts"];
    double& end = end_of_rank[step["tid"]];
    EXPECT_GE(begin, end - rounding);
    end = begin + step["dur"].get<double>();
    begins[key_of(step)] = begin;
    ends[key_of(step)] = end;
  }
  for (const json& phase : events_in(timeline, "phase")) {
    double& free = begins.at(key_of(phase));
    EXPECT_GE(phase["ts"].get<double>(), free - rounding);
    free = phase["ts"].get<double>() + phase["dur"].get<double>();
    EXPECT_LE(free, ends.at(key_of(phase)) + rounding);
  }
}

TEST(Timeline, HasEveryPhaseOfEveryStepLayerAndRank) {
  const Recorded run = record(test::processes(3), "--steps 4 --overlap half");
  EXPECT_EQ(events_in(run.timeline, "step").size(), 3 * 4 * num_layers);
  EXPECT_EQ(events_in(run.timeline, "phase").size(), 3 * 4 * num_layers * num_phases);
  EXPECT_EQ(run.timeline["otherData"]["layer_steps_left_out"], 0);
  expect_tracks_without_overlap(run.timeline);
  std::int64_t rows = 0;
  for (const json& step : events_in(run.timeline, "step")) rows += step["args"]["rows"].get<std::int64_t>();
  EXPECT_EQ(rows, run.results["ledger"]["computed"]);
  EXPECT_TRUE(events_in(run.timeline, "epoch").empty());
}

TEST(Timeline, MarksEveryEpoch) {
  const Recorded run =
      record(test::threads(2), "--steps 40 --routing lognormal:1 --seed 2 --rebalance every:1");
  std::map<std::string, std::size_t> marks;
  std::size_t moves = 0, bytes = 0;
  for (const json& mark : events_in(run.timeline, "epoch")) {
    ++marks[mark["name"]];
    if (mark["name"] != "epoch switched") continue;
    moves += mark["args"]["moves"].get<std::size_t>();
    bytes += mark["args"]["bytes"].get<std::size_t>();
  }
  const json& migration = run.results["migration"];
  EXPECT_GE(marks["epoch switched"], 1U);
  EXPECT_EQ(marks["epoch switched"], migration["epochs"]);
  EXPECT_EQ(marks["epoch begun"],
            migration["epochs"].get<std::size_t>() + migration["cancelled"].get<std::size_t>());
  EXPECT_EQ(moves, migration["moves"]);
  EXPECT_EQ(bytes, migration["bytes"]);
  expect_tracks_without_overlap(run.timeline);
}

TEST(Timeline, IsRefusedWhereItCannotBeWritten) {
  const TemporaryFolder folder;
  const std::string run = shipped().run() + " --tokens 4 ";
  const std::string file = (folder / "file").string();
  test::expect_refusals(
      {{run + "--timeline /nowhere/timeline", "/nowhere/timeline: "},
       {run + "--timeline " + file + " --json " + file, "--json and --timeline name the same file"},
       {run + "--timeline " + (shipped().folder / "config.json").string(),
        "is read by this run and cannot be written"}});
  EXPECT_FALSE(std::filesystem::exists(file));
}

}  // namespace
}  // namespace moewe
