#include "launch/cost_file.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "comm/error.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_bytes.hpp"

namespace moewe {
namespace {

using Json = nlohmann::json;

CostCoefficients some_costs() {
  CostCoefficients costs;
  costs.top_k = 8;
  costs.tile_rows = 16;
  costs.row = 90'000;
  costs.weight_read = 20'000'000;
  costs.expert = 3'000'000;
  costs.inside_nodes = {40'000, 80'000};
  costs.between_nodes = {290'000, max_coefficient};
  return costs;
}

TEST(CostFile, IsReadAsItWasWritten) {
  CostCoefficients costs = some_costs();
  EXPECT_EQ(parse_costs(to_json(costs), 2, ""), costs);
  costs.returns_sums = true;
  costs.slowness = {1'000'000, 1'250'000};
  EXPECT_EQ(parse_costs(to_json(costs), 2, ""), costs);
  const test::TemporaryFolder folder;
  test::write_bytes(folder / "costs", to_json(costs));
  EXPECT_EQ(read_costs(folder / "costs", 2), costs);
}

TEST(CostFile, IsReadAsItsHeaderTells) {
  const CostCoefficients costs = parse_costs(R"(
   {"moewe_costs": 1, "top_k": 8, "tile_rows": 16, "row_ps": 90000, "weight_read_ps": 20000000,
    "expert_ps": 3000000, "inside_nodes": {"dispatch_row_ps": 40000, "return_row_ps": 80000},
    "between_nodes": {"dispatch_row_ps": 290000, "return_row_ps": 1099511627776}, "combine": "reproducible"})",
                                             2, "");
  EXPECT_EQ(costs, some_costs());
}

TEST(CostFile, IsRefusedInOneSentence) {
  const Json good = Json::parse(to_json(some_costs()));
  const auto refusal = [](const std::string& text) {
    return test::message_of<InvalidInput>([&] { parse_costs(text, 2, "COSTS"); });
  };
  for (const auto& member : good.items()) {
    Json bad = good;
    bad.erase(member.key());
    EXPECT_EQ(refusal(bad.dump()), "COSTS: '" + member.key() + "' is missing");
    bad[member.key()] = "much";
    EXPECT_EQ(refusal(bad.dump()).rfind("COSTS: " + member.key(), 0), 0U) << refusal(bad.dump());
  }
  for (const auto& [change, message] : std::vector<std::pair<std::string, std::string>>{
           {R"({"row_ns": 1})", "COSTS: 'row_ns' is not known"},
           {R"({"moewe_costs": 2})", "COSTS: moewe_costs, the format, must be 1"},
           {R"({"row_ps": -1})", "COSTS: row_ps must be a whole number from 0 to 1099511627776"},
           {R"({"row_ps": 0.5})", "COSTS: row_ps must be a whole number from 0 to 1099511627776"},
           {R"({"top_k": 0})", "COSTS: costs: top_k must be 1 or more"},
           {R"({"inside_nodes": {"x": 1}})", "COSTS: inside_nodes: 'x' is not known"},
           {R"({"inside_nodes": {"dispatch_row_ps": 1}})", "COSTS: inside_nodes: 'return_row_ps' is missing"},
           {R"({"combine": "slow"})", "COSTS: combine must be \"reproducible\" or \"fast\""},
           {R"({"slowness": [1]})", "COSTS: costs: slowness is of 1 ranks, but there are 2"},
           {R"({"slowness": [1000000, 0]})",
            "COSTS: costs: a rank's slowness must be above 0 and at most 1000"}}) {
    Json bad = good;
    bad.update(Json::parse(change));
    EXPECT_EQ(refusal(bad.dump()), message);
  }
  EXPECT_EQ(refusal("[]"), "COSTS: must be an object");
  EXPECT_EQ(refusal("{"), "COSTS: not valid JSON near its byte 2");
  EXPECT_EQ(refusal(R"({"row_ps": 1, "row_ps": 2})"), "COSTS: key 'row_ps' stands twice in one object");
}

}  // namespace
}  // namespace moewe
