// What a run learns about loads and placements is kept, and others begin with it.

#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>

#include "launch/load_file.hpp"
#include "launch/placement_map.hpp"
#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"

namespace moewe {
namespace {

using nlohmann::json;
using test::processes;
using test::results_of;
using test::shipped;
using test::TemporaryFolder;
using test::threads;

/// The recorded tokens, which are the same in every step, and so are their loads.
std::string recorded_run(int steps) { return fmt::format("{} --steps {} ", shipped().run_recorded(), steps); }

std::string uneven_run() {
  return shipped().run() + " --tokens 60 --steps 40 --routing lognormal:1 --seed 2 ";
}

std::string option(const char* name, const std::filesystem::path& file) {
  return fmt::format(" --{} {}", name, file.string());
}

/// A shell's condition: there are loads of a window in the file.
std::string is_counted(const std::filesystem::path& loads) {
  return fmt::format("grep -q '\"num_windows_seen\":[1-9]' {} 2> /dev/null", loads.string());
}

void write(const std::filesystem::path& path, const std::string& text) { std::ofstream(path) << text; }

const std::string moving = "--rebalance every:5";

PlacementMap read_map(const std::filesystem::path& file, const test::Ranks& ranks) {
  return read_placement_map(file, {static_cast<std::size_t>(ranks.count), shipped().num_experts});
}

TEST(History, APlacementThatWasSavedIsWhereTheNextRunBegins) {
  for (const test::Ranks ranks : {threads(2), processes(3)}) {
    const TemporaryFolder folder;
    const auto map = folder / "map.json";
    const json still = results_of(ranks, uneven_run());
    const json first = results_of(ranks, uneven_run() + moving + option("save-placement", map));
    EXPECT_EQ(first["saved"]["placement"], map.string());
    EXPECT_EQ(first["placement"], "contiguous");
    EXPECT_GT(first["migration"]["moves"], 0);
    EXPECT_EQ(read_map(map, ranks).size(), shipped().num_layers);
    const json next = results_of(ranks, uneven_run() + option("placement", map));
    EXPECT_EQ(next["placement"], map.string());
    EXPECT_EQ(next["imbalance"]["last"], first["imbalance"]["last"]);
    EXPECT_LT(next["imbalance"]["last"], still["imbalance"]["last"]);
    EXPECT_EQ(next["output_sha256"], still["output_sha256"]);
  }
}

/// Run after run, on as many slots; also where an expert has two on a rank, which the first move gives up.
TEST(History, APlacementIsGoneOnWithOnTheSameSlots) {
  const TemporaryFolder folder;
  const auto map = folder / "map.json";
  write(map, R"({"physical_to_logical_map": [[0,1,2,3,0,4,5,6,7,5],[0,1,2,3,0,4,5,6,7,5]]})");
  const std::string on = moving + option("placement", map) + option("save-placement", map);
  for (int run = 0; run < 3; ++run) {
    const json results = results_of(threads(2), uneven_run() + on);
    if (run == 0) {
      EXPECT_GT(results["migration"]["moves"], 0);
    }
    for (const auto& [layer, placement] : read_map(map, threads(2))) EXPECT_EQ(placement.num_slots(), 10U);
  }
}

/// Whatever a run that was interrupted has kept of its loads and its placement, the one that goes on from its
/// steps goes on from, too.
TEST(History, IsGoneOnWithByARunThatIsResumed) {
  const TemporaryFolder folder;
  const auto loads = folder / "loads.json", map = folder / "map.json", kept = folder / "output.kept";
  const std::string files =
      option("save-loads", loads) + option("save-placement", map) + option("output", folder / "output");
  const std::string run = fmt::format("{} {} --tokens 60 --routing lognormal:1 {}{} --ranks 2",
                                      test::program(), shipped().run(), moving, files);
  const auto ended = test::run_command(fmt::format(
      "{} --steps 1000000 & pid=$!; until [ -e {} ] && {}; do sleep 0.01; done; kill -KILL $pid; wait $pid; "
      "cp {} {}.before",
      run, kept.string(), is_counted(loads), loads.string(), loads.string()));
  const LoadHistory before = read_loads(loads.string() + ".before");
  ASSERT_GE(before.num_windows_seen(), 1U) << ended.output;
  const auto again =
      test::run_command(fmt::format("{} --steps 1000000 --resume & pid=$!; while cmp -s {} {}.before; do "
                                    "sleep 0.01; done; kill -KILL $pid; "
                                    "wait $pid",
                                    run, loads.string(), loads.string()));
  EXPECT_GE(read_loads(loads).num_windows_seen(), before.num_windows_seen()) << again.output;
  EXPECT_GE(read_loads(loads).total()[0][0], before.total()[0][0]);
  EXPECT_EQ(read_map(map, threads(2)).size(), shipped().num_layers);
}

/// A window of a run whose steps all have the same loads, with all layers.
LoadTable step_loads(const json& results) {
  LoadTable table;
  for (const json& layer : results["overflow"])
    table.push_back(layer["assigned"].get<std::vector<std::int64_t>>());
  return table;
}

TEST(History, LoadsAreCountedExactlyAndGoOn) {
  // a capacity that nothing exceeds, for the account of what was assigned
  const LoadTable once = step_loads(results_of(threads(1), recorded_run(1) + "--capacity-factor 8"));
  const auto times = [&](std::int64_t n) {
    LoadTable table = once;
    for (auto& layer : table) {
      for (std::int64_t& load : layer) load *= n;
    }
    return table;
  };
  const TemporaryFolder folder;
  const auto file = folder / "loads.json";
  results_of(processes(3), recorded_run(20) + option("save-loads", file));
  const LoadHistory first = read_loads(file);
  EXPECT_EQ(first.total(), times(20));
  EXPECT_EQ(first.num_windows_seen(), 2U);
  EXPECT_EQ(first.windows().front(), times(16));
  EXPECT_EQ(first.options().num_sources, 3U);
  const std::string again = option("loads", file) + option("save-loads", file);
  const json results = results_of(threads(2), recorded_run(1) + "--overlap half" + again);
  EXPECT_EQ(results["loads"], file.string());
  EXPECT_EQ(read_loads(file).total(), times(21));
  EXPECT_EQ(read_loads(file).num_windows_seen(), 3U);
}

TEST(History, ARunBeginsWithThePlacementThatIsPlannedForItsLoads) {
  const TemporaryFolder folder;
  const auto loads = folder / "loads.json", map = folder / "map.json";
  const json still = results_of(threads(1), uneven_run() + option("save-loads", loads));
  const json contiguous = results_of(threads(2), uneven_run());
  for (const test::Ranks ranks : {threads(2), processes(2), processes(4)}) {
    for (const std::string more : {"", " --spare-slots 1", " --rebalance auto --dtype f32"}) {
      SCOPED_TRACE(describe(ranks) + more);
      const json planned = results_of(ranks, uneven_run() + option("loads", loads) + more);
      EXPECT_EQ(planned["placement"], "planned for " + loads.string());
      EXPECT_EQ(planned["output_sha256"], still["output_sha256"]);
      if (ranks.count == 2) {
        EXPECT_LT(planned["imbalance"]["last"], contiguous["imbalance"]["last"]);
      }
    }
  }
  const json other = results_of(threads(2), uneven_run() + option("loads", loads) +
                                                " --placement contiguous" + option("save-placement", map));
  EXPECT_EQ(other["placement"], "contiguous");
  EXPECT_EQ(other["imbalance"]["first"], contiguous["imbalance"]["first"]);
  EXPECT_EQ(read_placement_map(map, {2, shipped().num_experts}).at(0).digest(),
            contiguous_placement(shipped().num_experts, 2).digest());
}

TEST(History, MoewePlaceReadsWhatARunHasSaved) {
  const TemporaryFolder folder;
  const auto loads = folder / "loads.json", map = folder / "map.json";
  const json one = results_of(threads(2), uneven_run() + option("save-loads", loads));
  const auto placed = test::run_moewe(fmt::format("place --ranks 2 --slots-per-rank 4 --algorithm moewe{}{}",
                                                  option("loads", loads), option("out", map)));
  ASSERT_EQ(placed.exit_code, 0) << placed.output;
  const json by_map = results_of(threads(2), uneven_run() + option("placement", map));
  const json by_loads = results_of(threads(2), uneven_run() + option("loads", loads));
  EXPECT_EQ(by_map["imbalance"], by_loads["imbalance"]);
  EXPECT_EQ(by_map["output_sha256"], one["output_sha256"]);
}

TEST(History, IsThereWhereARunIsInterrupted) {
  for (const test::Ranks ranks : {threads(2), processes(2)}) {
    const TemporaryFolder folder;
    const auto loads = folder / "loads.json", map = folder / "map.json";
    const std::string start = ranks.are_processes
                                  ? fmt::format("{} -n 2 {}", test::mpiexec(), test::program())
                                  : test::program() + " --ranks 2";
    std::string run =
        shipped().run() + " --tokens 60 --steps 100000000 --routing lognormal:1 --rebalance auto";
    std::string command = ranks.are_processes ? fmt::format("{} {}", start, run)
                                              : fmt::format("{} {} --ranks 2", test::program(), run);
    command += option("save-loads", loads) + option("save-placement", map);
    const auto ended = test::run_command(
        fmt::format("{} & pid=$!; until [ -e {} ] && {}; do sleep 0.01; done; kill -TERM $pid; wait $pid",
                    command, map.string(), is_counted(loads)));
    EXPECT_NE(ended.exit_code, 0) << ended.output;
    const LoadHistory history = read_loads(loads);
    EXPECT_GE(history.num_windows_seen(), 1U);
    const auto next = results_of(ranks, uneven_run() + option("loads", loads) + option("placement", map));
    EXPECT_EQ(next["loads"], loads.string());
  }
}

TEST(History, FilesThatDoNotFitAreRefusedInOneSentence) {
  const TemporaryFolder folder;
  const auto file = [&](const char* name, const std::string& text) {
    write(folder / name, text);
    return option("loads", folder / name);
  };
  const std::string run = uneven_run();
  const std::string row = "[1,2,3,4,5,6,7,8]";
  test::expect_refusals({
      {run + file("experts", R"({"logical_count": [[1, 2], [3, 4]]})"), "experts: has 2 experts, not 8"},
      {run + file("layers", fmt::format(R"({{"logical_count": [{0}, {0}, {0}]}})", row)),
       "has loads of 3 layers, but the model has 2"},
      {run + file("text", "these are no loads"), "text"},
      {run + file("later", R"({"moewe_loads": 2})"), "moewe_loads, the format, must be 1"},
      {run + file("map", R"({"moewe_placement": 1})"), "has no loads"},
      {run + option("loads", folder / "missing"), "No such file or directory"},
      {run + option("save-loads", folder / "none" / "x"), "No such file or directory"},
      {run + option("save-placement", folder.path()), folder.path().string()},
      {run + option("save-loads", folder / "x") + option("save-placement", folder / "x"),
       "name the same file"},
      {run + option("save-loads", shipped().folder / "config.json"),
       "is read by this run and cannot be written"},
      {run + "--layers 0" + file("both", fmt::format(R"({{"logical_count": [{0}, {0}]}})", row)) +
           option("save-loads", folder / "x"),
       "has loads of layer 1, which this run does not compute"},
      {run + "--combine fast" + file("loads", fmt::format(R"({{"logical_count": [{0}, {0}]}})", row)) +
           option("save-loads", folder / "loads") + option("output", folder / "x"),
       "which could not be resumed then"},
  });
}

std::vector<std::string> kinds_of(const json& alarms) {
  std::vector<std::string> kinds;
  for (const json& alarm : alarms) {
    EXPECT_LE(alarm["value"], 1.0);
    EXPECT_GT(alarm["limit"], 0.0);
    kinds.push_back(fmt::format("{} {}", alarm["layer"].get<int>(), alarm["kind"].get<std::string>()));
  }
  return kinds;
}

TEST(History, LoadsThatLookLikeACollapseAreTold) {
  const std::string run = shipped().run() + " --tokens 200 --steps 40 --rebalance auto --routing ";
  for (const test::Ranks ranks : {threads(2), processes(2)}) {
    const json hot = results_of(ranks, run + "hot:2");
    EXPECT_EQ(kinds_of(hot["alarms"]),
              (std::vector<std::string>{"0 utilisation", "0 entropy", "1 utilisation", "1 entropy", "0 cold",
                                        "1 cold"}));
    EXPECT_EQ(hot["alarms"][0]["step"], 16);
    EXPECT_TRUE(hot["alarms"][0]["expert"].is_null());
    EXPECT_EQ(hot["alarms"][4]["step"], 32);
    EXPECT_FALSE(hot["alarms"][4]["expert"].is_null());
    EXPECT_TRUE(hot["alarms"][4]["source"].is_null());
    EXPECT_TRUE(results_of(ranks, run + "uniform")["alarms"].empty());
  }
  const std::string told = run_moewe(threads(2), run + "hot:2").output;
  std::size_t lines = 0;
  for (auto at = told.find("experts are used"); at != std::string::npos;
       at = told.find("experts are used", at + 1))
    ++lines;
  EXPECT_EQ(lines, 2U) << told;
}

}  // namespace
}  // namespace moewe
