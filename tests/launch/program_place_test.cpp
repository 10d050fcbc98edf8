// moewe place: placements from recorded loads, judged against what is possible, and what is done with them.

#include <algorithm>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "launch/placement_map.hpp"
#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_bytes.hpp"

namespace moewe {
namespace {

using Json = nlohmann::json;
using test::ProgramResult;
using test::run_moewe;
using test::TemporaryFolder;

using Table = std::vector<std::vector<std::int64_t>>;

/// 3 layers, of which the first has no experts.
Table skewed_loads() {
  std::mt19937 random(1);
  Table table(3, std::vector<std::int64_t>(24, 0));
  for (std::size_t layer = 1; layer < table.size(); ++layer) {
    for (std::int64_t& load : table[layer])
      load = static_cast<std::int64_t>(100 + random() % (random() % 5 == 0 ? 4000 : 400));
  }
  return table;
}

/// Every load times 0.6 to 1.6.
Table drifted(Table table) {
  std::mt19937 random(2);
  for (auto& layer : table) {
    for (std::int64_t& load : layer) load = load * static_cast<std::int64_t>(60 + random() % 100) / 100;
  }
  return table;
}

std::string text_of(const Table& table) { return Json{{"logical_count", table}}.dump(); }

class Place : public testing::Test {
 protected:
  Place() {
    write("loads", text_of(skewed_loads()));
    write("other", text_of(drifted(skewed_loads())));
  }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  void write(const std::string& name, const std::string& text) const {
    test::write_bytes(folder_ / name, text);
  }

  /// What is done with the loads on six ranks.
  ProgramResult place(const std::string& arguments) const {
    return run_moewe("place --ranks 6 --loads " + path("loads") + " " + arguments);
  }

  /// The figures of an algorithm.
  Json figures(const std::string& name, const std::string& arguments) const {
    const ProgramResult result = place(arguments + " --json " + path("json"));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    const Json json = test::read_json(folder_ / "json");
    for (const Json& algorithm : json["algorithms"]) {
      EXPECT_NE(result.output.find("\n  " + algorithm["name"].get<std::string>() + " "), std::string::npos);
      if (algorithm["name"] == name) return algorithm;
    }
    ADD_FAILURE() << name << " is not in " << result.output;
    return {};
  }

  TemporaryFolder folder_;
};

TEST_F(Place, ComparesWaysToPlaceWithWhatIsPossible) {
  double last = 100;
  for (const char* name : {"contiguous", "eplb", "moewe"}) {
    const Json of = figures(name, "--slots-per-rank 5");
    const double optimal = of["imbalance"]["optimal_split"]["mean"];
    EXPECT_LE(optimal, last) << name;
    EXPECT_LE(optimal, of["imbalance"]["equal_split"]["mean"]);
    EXPECT_GE(of["over_bound"]["mean"], 1);
    EXPECT_LE(of["imbalance"]["optimal_split"]["p95"], of["imbalance"]["optimal_split"]["worst"]);
    EXPECT_EQ(of["layers"].size(), 2U);
    EXPECT_EQ(of["layers"][0]["layer"], 1);
    EXPECT_EQ(of.count("arrivals"), 0U);
    last = optimal;
  }
  EXPECT_LT(last, 1.01);
  EXPECT_EQ(figures("moewe", "--slots-per-rank 5")["duplicates_per_layer"], 0);
}

TEST_F(Place, WritesWhatItTellsInEveryFormat) {
  for (const char* format : {"moewe", "sglang", "tensorrt-llm"}) {
    const ProgramResult result = place(std::string("--slots-per-rank 5 --algorithm moewe --out ") +
                                       path("map") + " --out-format " + format);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    const PlacementMap map = read_placement_map(folder_ / "map", {6, 24});
    EXPECT_EQ(map.size(), std::string(format) == "tensorrt-llm" ? 2U : 3U);
    for (const auto& [layer, placement] : map) EXPECT_EQ(placement.num_slots(), 30U) << layer;
    const Json again = figures("in use", "--slots-per-rank 5 --from " + path("map"));
    EXPECT_EQ(again["layers"][0]["arrivals"], 0);
    EXPECT_EQ(again["imbalance"], figures("moewe", "--slots-per-rank 5 --algorithm moewe")["imbalance"]);
  }
}

TEST_F(Place, ChangesAPlacementLessThanEplbDoes) {
  ASSERT_EQ(place("--slots-per-rank 5 --algorithm eplb --out " + path("map")).exit_code, 0);
  const std::string from = "--slots-per-rank 5 --expert-bytes 1kB --from " + path("map") + " --loads ";
  const auto run = [&](const std::string& name) {
    const ProgramResult result =
        run_moewe("place --ranks 6 " + from + path("other") + " --json " + path("json"));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    const Json json = test::read_json(folder_ / "json");
    for (const Json& algorithm : json["algorithms"]) {
      if (algorithm["name"] == name) return algorithm;
    }
    return Json{};
  };
  const Json ours = run("moewe");
  EXPECT_LT(2 * ours["arrivals"]["total"].get<int>(), run("eplb")["arrivals"]["total"].get<int>());
  EXPECT_EQ(ours["arrivals"]["bytes"], 1000 * ours["arrivals"]["total"].get<int>());
  EXPECT_LE(ours["imbalance"]["optimal_split"]["worst"], 1.03);
  EXPECT_GT(run("in use")["imbalance"]["optimal_split"]["worst"],
            ours["imbalance"]["optimal_split"]["worst"]);
  EXPECT_TRUE(run("in use")["planning_s"].is_null());
}

TEST_F(Place, JudgesByOtherLoads) {
  const Json same = figures("eplb", "--slots-per-rank 5");
  const Json other = figures("eplb", "--slots-per-rank 5 --score " + path("other"));
  EXPECT_GT(other["imbalance"]["optimal_split"]["mean"], same["imbalance"]["optimal_split"]["mean"]);
}

TEST_F(Place, KnowsNodesAndGroups) {
  const std::string shape = "--slots-per-rank 5 --nodes 2 --groups 4";
  EXPECT_EQ(figures("eplb-hierarchical", shape)["foreign_slots_per_layer"], 0);
  EXPECT_LT(figures("moewe", shape)["foreign_slots_per_layer"],
            figures("eplb", shape)["foreign_slots_per_layer"]);
  EXPECT_LE(figures("moewe", shape)["imbalance"]["optimal_split"]["mean"],
            figures("eplb-hierarchical", shape)["imbalance"]["optimal_split"]["mean"]);
}

/// Between nodes rows take ten times as long to travel as to compute.
const char* const some_costs =
    R"({"moewe_costs": 1, "top_k": 4, "tile_rows": 1, "row_ps": 1000000, "weight_read_ps": 0, "expert_ps": 0,
        "inside_nodes": {"dispatch_row_ps": 0, "return_row_ps": 0},
        "between_nodes": {"dispatch_row_ps": 5000000, "return_row_ps": 5000000}, "combine": "reproducible"})";

TEST_F(Place, PredictsTimesFromCosts) {
  write("costs", some_costs);
  const std::string shape = "--slots-per-rank 5 --cost " + path("costs");
  for (const char* name : {"contiguous", "eplb", "moewe"}) {
    // On one node, rows are all that takes time: a microsecond each.
    const Json one_node = figures(name, shape);
    EXPECT_EQ(one_node.count("nodes_per_token"), 0U);
    double total = 0;
    for (const Json& layer : one_node["layers"]) {
      const Table loads = skewed_loads();
      const auto& of_layer = loads[layer["layer"].get<std::size_t>()];
      const double mean = std::accumulate(of_layer.begin(), of_layer.end(), 0.0) / 6;
      EXPECT_NEAR(layer["step_time_s"], 1e-6 * mean * layer["optimal_split"].get<double>(), 1e-9);
      total += layer["step_time_s"].get<double>();
    }
    EXPECT_NEAR(one_node["step_time_s"]["total"], total, 1e-9);
    const Json scaled = figures(name, shape + " --step-tokens 1000000");
    for (const Json& layer : scaled["layers"])
      EXPECT_NEAR(layer["step_time_s"], 4.0 / 6 * layer["optimal_split"].get<double>(), 1e-4);
    const Json nodes = figures(name, shape + " --nodes 3");
    EXPECT_GT(nodes["step_time_s"]["total"], 2 * total);
    EXPECT_GT(nodes["nodes_per_token"]["mean"], 1.5);
    EXPECT_LE(nodes["nodes_per_token"]["worst"], 3);
  }
  EXPECT_EQ(figures("moewe", "--slots-per-rank 5").count("step_time_s"), 0U);
  EXPECT_EQ(figures("moewe", shape + " --nodes 3 --groups 6").count("nodes_per_token"), 0U);
}

TEST_F(Place, GivesSlowRanksLess) {
  Json costs = Json::parse(some_costs);
  write("costs", costs.dump());
  costs["slowness"] = {1'000'000, 2'000'000, 1'000'000, 1'000'000, 1'000'000, 1'000'000};
  write("slow", costs.dump());
  const std::string shape = "--slots-per-rank 5 --algorithm moewe --out " + path("map") + " --cost ";
  EXPECT_EQ(figures("moewe", shape + path("costs"))["imbalance"].count("in_time"), 0U);
  const std::string judge = "--slots-per-rank 5 --cost " + path("slow") + " --from " + path("map");
  EXPECT_GT(figures("in use", judge)["imbalance"]["in_time"]["mean"], 1.02);
  for (const char* name : {"moewe", "robust"}) {
    const Json of = figures(name, "--slots-per-rank 5 --cost " + path("slow"))["imbalance"];
    EXPECT_LE(of["in_time"]["mean"], 1.02) << name;
    EXPECT_GE(of["in_time"]["mean"], 1) << name;
  }
  EXPECT_LE(figures("moewe", judge)["imbalance"]["in_time"]["worst"], 1.03);
}

/// A trace of one layer: tokens choose three of eight experts that belong together, one of every third.
std::string trace_of_blocks(std::uint32_t seed) {
  std::mt19937 random(seed);
  std::string ids;
  constexpr std::size_t tokens = 3000;
  for (std::size_t token = 0; token < tokens; ++token) {
    std::vector<char> block;
    for (char i = 0; i < 8; ++i) block.push_back(static_cast<char>(3 * i + static_cast<char>(token % 3)));
    std::shuffle(block.begin(), block.end(), random);
    ids.append(block.begin(), block.begin() + 3);
  }
  const std::string head = "{'descr': '|u1', 'fortran_order': False, 'shape': (3000, 1, 3), }";
  std::string bytes("\x93NUMPY\x01", 7);
  bytes += '\0';
  bytes += static_cast<char>(head.size());
  bytes += '\0';
  return bytes + head + ids;
}

TEST_F(Place, BringsExpertsTogetherThatTokensChooseTogether) {
  write("trace", trace_of_blocks(1));
  write("later", trace_of_blocks(2));
  const std::string shape = "--co-activation --target 1.1 --slots-per-rank 4 --nodes 3 --loads " +
                            path("trace") + " --score " + path("later") + " --json " + path("json");
  const ProgramResult result = run_moewe("place --ranks 6 " + shape + " --out " + path("map"));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("counted on the tokens of " + path("later")), std::string::npos);
  Json of;
  const Json json = test::read_json(folder_ / "json");
  EXPECT_EQ(json["tokens"], path("later"));
  for (const Json& algorithm : json["algorithms"]) of[algorithm["name"].get<std::string>()] = algorithm;
  EXPECT_EQ(of.size(), 6U);
  for (const std::string name : {"moewe", "robust"}) {
    const Json& with = of[name + " co-active"];
    EXPECT_GT(of[name]["nodes_per_token"]["mean"], 1.7);
    EXPECT_LE(with["nodes_per_token"]["mean"], 1.1);
    EXPECT_GE(with["ranks_per_token"]["mean"], with["nodes_per_token"]["mean"]);
    EXPECT_LE(with["imbalance"]["optimal_split"]["mean"], 1.15);
  }
  const Placement written = read_placement_map(folder_ / "map", {6, 24}).at(0);
  for (std::size_t e = 3; e < 24; ++e)
    EXPECT_EQ(index(written.slot_of(expert_at(e)).rank) / 2,
              index(written.slot_of(expert_at(e % 3)).rank) / 2);
  // What is judged by counts is counted on the tokens that are placed for.
  write("counts", Json{{"logical_count", {std::vector<int>(24, 5)}}}.dump());
  const ProgramResult counts = run_moewe("place --ranks 6 --co-activation --slots-per-rank 4 --loads " +
                                         path("trace") + " --score " + path("counts"));
  EXPECT_NE(counts.output.find("counted on the tokens of " + path("trace")), std::string::npos);
}

TEST_F(Place, DrawsAPictureThatStandsAlone) {
  ASSERT_EQ(place("--slots-per-rank 5 --plot " + path("plot")).exit_code, 0);
  const std::string svg = test::read_file(folder_ / "plot");
  EXPECT_EQ(svg.rfind("<svg xmlns=\"http://www.w3.org/2000/svg\"", 0), 0U);
  EXPECT_EQ(svg.find("href"), std::string::npos);
  for (const char* text : {">contiguous ", ">eplb ", ">moewe ", ">robust ", ">bound<", "</svg>"})
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST_F(Place, TellsOfAllItsOptions) {
  const ProgramResult help = run_moewe("place --help");
  EXPECT_EQ(help.exit_code, 0);
  for (const char* option :
       {"--loads", "--ranks", "--slots-per-rank", "--nodes", "--groups", "--algorithm", "--from", "--target",
        "--expert-bytes", "--score", "--cost", "--step-tokens", "--experts", "--seed", "--out",
        "--out-format", "--json", "--plot", "--co-activation"}) {
    EXPECT_NE(help.output.find(std::string("  ") + option + " "), std::string::npos) << option;
  }
  EXPECT_NE(run_moewe("--help").output.find("  place"), std::string::npos);
}

TEST_F(Place, RunsInTheFirstOfSeveralProcesses) {
  const ProgramResult result = test::run_moewe_under_mpi(
      2, "place --ranks 6 --slots-per-rank 4 --algorithm contiguous --loads " + path("loads"));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  const std::size_t first = result.output.find("2 layers of 24 experts");
  EXPECT_NE(first, std::string::npos) << result.output;
  EXPECT_EQ(result.output.find("2 layers of 24 experts", first + 1), std::string::npos);
}

TEST_F(Place, AnswersWhatItCannotUseInOneSentence) {
  write("bad", "{\"logical_count\": [[1, 2], [3]]}");
  write("none", "{\"logical_count\": [[0, 0]]}");
  write("half", "{\"moewe_costs\": 1}");
  write("map", "num_slots: 2\ninitial_global_assignments:\n  1: [0, 1]\n");
  const auto loads = [&](const std::string& name) {
    return "place --ranks 2 --slots-per-rank 1 --loads " + path(name);
  };
  for (const auto& [arguments, part] : std::vector<std::pair<std::string, std::string>>{
           {"place", "--loads FILE is required"},
           {loads("bad"), "logical_count[1] has 1 numbers"},
           {loads("none"), "no layer has any load"},
           {loads("missing"), "No such file or directory"},
           {loads("loads"), "24 experts do not fit into 2 ranks with 1 slots each"},
           {loads("map"), "is this a safetensors file?"},
           {"place --co-activation --ranks 6 --slots-per-rank 5 --loads " + path("loads"),
            "--co-activation needs what each token chose"},
           {"place --ranks 6 --slots-per-rank 5 --groups 5 --loads " + path("loads"),
            "--groups 5 must divide the 24"},
           {"place --ranks 6 --slots-per-rank 5 --experts 23 --loads " + path("loads"),
            "has 24 experts, not 23"},
           {"place --ranks 6 --slots-per-rank 5 --from " + path("map") + " --loads " + path("loads"),
            "2 slots cannot be"},
           {"place --ranks 6 --slots-per-rank 5 --score " + path("none") + " --loads " + path("loads"),
            "has 2 experts"},
           {"place --ranks 6 --slots-per-rank 5 --cost " + path("half") + " --loads " + path("loads"),
            "half: 'top_k' is missing"},
           {"place --ranks 6 --slots-per-rank 5 --cost " + path("none") + " --loads " + path("loads"),
            "none: 'logical_count' is not known"},
           {"place --ranks 6 --slots-per-rank 5 --cost " + path("missing") + " --loads " + path("loads"),
            "No such file or directory"},
           {"place --ranks 6 --slots-per-rank 5 --out " + path("loads") + " --loads " + path("loads"),
            "is read here"},
           {"place --ranks 6 --slots-per-rank 5 --json /no/folder/x --loads " + path("loads"),
            "cannot be written"}}) {
    const ProgramResult result = run_moewe(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_NE(result.output.find(part), std::string::npos) << result.output;
    EXPECT_EQ(test::own_lines(result).size(), 1U) << result.output;
  }
}

TEST_F(Place, IsWhereARunHasItsExperts) {
  const test::Sample sample = test::shipped();
  const TemporaryFolder folder;
  std::vector<std::vector<int>> slots(sample.num_layers);
  std::mt19937 random(4);
  for (std::vector<int>& layer : slots) {
    for (std::size_t expert = 0; expert < sample.num_experts; ++expert)
      layer.push_back(static_cast<int>(expert));
    std::shuffle(layer.begin(), layer.end(), random);
  }
  write("map", Json{{"physical_to_logical_map", slots}}.dump());
  const std::string run = sample.run_recorded() + " --tokens 100 ";
  const std::string expected = test::hash_of(test::threads(1), run);
  for (const test::Ranks ranks : {test::threads(2), test::threads(4), test::processes(2)}) {
    EXPECT_EQ(test::hash_of(ranks, run + "--placement " + path("map")), expected);
    EXPECT_NE(test::results_of(ranks, run + "--placement " + path("map"))["ledger"]["computed_per_rank"],
              test::results_of(ranks, run)["ledger"]["computed_per_rank"]);
  }
  test::expect_refusals({{run + "--placement " + path("loads"), "has no placement"}});
}

TEST_F(Place, WithReplicasSharesTheLoadsOfARun) {
  const test::Sample sample = test::shipped();
  std::vector<std::vector<int>> slots(sample.num_layers);
  for (std::vector<int>& layer : slots) {
    for (std::size_t i = 0; i < 2 * sample.num_experts; ++i)
      layer.push_back(static_cast<int>(i % sample.num_experts));
  }
  write("map", Json{{"physical_to_logical_map", slots}}.dump());
  const std::string run = sample.run_recorded() + " --tokens 100 ";
  const std::string replicated = run + "--placement " + path("map");
  EXPECT_EQ(test::hash_of(test::processes(4), replicated), test::hash_of(test::threads(1), run));
  const nlohmann::json results = test::results_of(test::threads(2), replicated);  // every expert on both
  EXPECT_EQ(results["output_sha256"], test::hash_of(test::threads(1), run));
  EXPECT_EQ(results["imbalance"]["last"], 1.0);
  EXPECT_GT(test::results_of(test::threads(2), run)["imbalance"]["last"], 1.0);
}

}  // namespace
}  // namespace moewe
