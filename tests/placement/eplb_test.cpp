#include "placement/eplb.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "comm/error.hpp"
#include "placement/bounds.hpp"
#include "placement/evaluation.hpp"
#include "placement/split.hpp"

namespace moewe {
namespace {

using Json = nlohmann::json;
using Loads = std::vector<std::int64_t>;

/// The expert of each slot, rank after rank.
std::vector<int> slots_of(const Placement& placement) {
  std::vector<int> experts;
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
    for (const ExpertId expert : placement.experts_of(rank_at(rank))) experts.push_back(number(expert));
  }
  return experts;
}

std::vector<std::size_t> copies_of(const Placement& placement) {
  std::vector<std::size_t> copies;
  for (std::size_t expert = 0; expert < placement.num_experts(); ++expert)
    copies.push_back(placement.slots_of(expert_at(expert)).size());
  return copies;
}

Json read(const std::filesystem::path& path) { return Json::parse(std::ifstream(path)); }

const Loads published[2] = {{90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86},
                            {20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27}};

TEST(Eplb, IsThePublishedOneInItsExample) {
  const EplbShape shape{16, 8, 2, 4};
  EXPECT_EQ(slots_of(eplb_placement(published[0], shape)),
            (std::vector<int>{5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1}));
  EXPECT_EQ(slots_of(eplb_placement(published[1], shape)),
            (std::vector<int>{7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1}));
}

TEST(Eplb, IsThePublishedOneWhereGroupsDoNotFitNodes) {
  for (const EplbShape& shape : {EplbShape{16, 8, 3, 4}, EplbShape{16, 8, 1, 1}}) {
    EXPECT_EQ(slots_of(eplb_placement(published[0], shape)),
              (std::vector<int>{10, 6, 10, 7, 0, 2, 11, 4, 5, 9, 5, 4, 8, 3, 1, 1}));
    EXPECT_EQ(slots_of(eplb_placement(published[1], shape)),
              (std::vector<int>{1, 10, 2, 4, 5, 11, 5, 0, 6, 7, 6, 3, 8, 8, 9, 7}));
  }
}

TEST(Eplb, HasTheLoadsOfThePublishedExample) {
  const char* data = std::getenv("MOEWE_DATA");
  if (data == nullptr) GTEST_SKIP() << "MOEWE_DATA is not set";
  const Json example = read(std::filesystem::path(data) / "eplb_example.json");
  for (const auto& [name, groups, nodes] : {std::tuple{"hierarchical", 4U, 2U}, {"global", 1U, 1U}}) {
    for (std::size_t layer = 0; layer < 2; ++layer) {
      const Loads loads = example["weight"][layer].get<Loads>();
      const Placement placement = eplb_placement(loads, {16, 8, nodes, groups});
      EXPECT_EQ(slots_of(placement), example[name]["phy2log"][layer].get<std::vector<int>>());
      EXPECT_EQ(copies_of(placement), example[name]["logcnt"][layer].get<std::vector<std::size_t>>());
      EXPECT_EQ(equal_split_loads(loads, placement),
                example[name]["gpu_load"][layer].get<std::vector<double>>());
    }
  }
}

/// "slots288_groups8_nodes4_gpus32"
EplbShape shape_of(const std::string& name) {
  EplbShape shape;
  const int found = std::sscanf(name.c_str(), "slots%zu_groups%zu_nodes%zu_gpus%zu", &shape.num_slots,
                                &shape.num_groups, &shape.num_nodes, &shape.num_ranks);
  EXPECT_EQ(found, 4) << name;
  return shape;
}

void expect_recorded(const Loads& loads, const EplbShape& shape, const Json& metrics, std::size_t layer) {
  constexpr double rounding = 1.1e-5;  // five digits, and our bound in whole assignments
  const Placement placement = eplb_placement(loads, shape);
  EXPECT_NEAR(equal_split_imbalance(loads, placement), metrics["eplb_equal"][layer].get<double>(), rounding)
      << layer;
  const double mean = static_cast<double>(std::accumulate(loads.begin(), loads.end(), std::int64_t{0})) /
                      static_cast<double>(shape.num_ranks);
  EXPECT_NEAR(static_cast<double>(slot_bound(loads, shape.num_ranks, shape.num_slots)) / mean,
              metrics["slot_lower_bound"][layer].get<double>(), rounding)
      << layer;
}

TEST(Eplb, ReachesWhatTheReferenceDoesOnRecordedLoads) {
  const char* data = std::getenv("MOEWE_DATA");
  if (data == nullptr) GTEST_SKIP() << "MOEWE_DATA is not set";
  const std::filesystem::path folder = std::filesystem::path(data) / "deepseek_v3_load";
  int num_layers = 0;
  const Json golden = read(folder / "golden_eplb_metrics.json");
  for (const auto& [table, shapes] : golden["tables"].items()) {
    const auto loads = read(folder / (table + ".json"))["logical_count"].get<std::vector<Loads>>();
    for (const auto& [name, metrics] : shapes.items()) {
      constexpr std::size_t num_dense = 3;
      ASSERT_EQ(metrics["eplb_equal"].size(), loads.size() - num_dense);
      for (std::size_t layer = 0; layer + num_dense < loads.size(); ++layer, ++num_layers)
        expect_recorded(loads[layer + num_dense], shape_of(name), metrics, layer);
    }
  }
  EXPECT_GT(num_layers, 1000);
}

TEST(Eplb, CopiesWhatIsLoadedMostPerCopy) {
  std::mt19937 random(5);
  for (int round = 0; round < 50; ++round) {
    Loads loads(12);
    for (std::int64_t& load : loads) load = static_cast<std::int64_t>(random() % 100);
    const auto copies = copies_of(eplb_placement(loads, {20, 4, 1, 1}));
    // no expert with a copy to spare was loaded less, per copy that it had before, than another is now
    for (std::size_t a = 0; a < loads.size(); ++a) {
      for (std::size_t b = 0; b < loads.size(); ++b) {
        if (copies[a] == 1) continue;
        EXPECT_GE(loads[a] * static_cast<std::int64_t>(copies[b]),
                  loads[b] * static_cast<std::int64_t>(copies[a] - 1));
      }
    }
  }
}

TEST(Eplb, PlacesWhatIsHardlyLoadedOrTooMuch) {
  EXPECT_EQ(slots_of(eplb_placement(Loads{0, 0, 0}, {3, 3, 1, 1})), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(slots_of(eplb_placement(Loads{7}, {4, 2, 1, 1})), (std::vector<int>{0, 0, 0, 0}));
  const Loads most{max_total_load - 3, 1, 1, 1};
  EXPECT_EQ(copies_of(eplb_placement(most, {1 << 12, 1 << 10, 2, 2})),
            (std::vector<std::size_t>{(1 << 11) - 1, 1, 1 << 10, 1 << 10}));
}

TEST(Eplb, RefusesWhatIsNotSpreadEvenly) {
  EXPECT_THROW(eplb_placement(Loads{1, 1, 1}, {5, 2, 1, 1}), InvalidInput);
  EXPECT_THROW(eplb_placement(Loads{1, 1, 1}, {2, 2, 1, 1}), InvalidInput);
  EXPECT_THROW(eplb_placement(Loads{1, 1, 1}, {4, 2, 2, 2}), InvalidInput);
  EXPECT_THROW(eplb_placement(Loads{1, 1, 1, 1}, {6, 3, 2, 2}), InvalidInput);
  EXPECT_THROW(eplb_placement(Loads{1, 1}, {0, 0, 1, 1}), InvalidInput);
  EXPECT_THROW(eplb_placement(Loads{}, {2, 1, 1, 1}), InvalidInput);
  EXPECT_THROW(eplb_placement(Loads{1, -1}, {2, 1, 1, 1}), InvalidInput);
}

TEST(EqualSplit, SharesAnExpertsLoadAmongItsSlots) {
  const ExpertId a{0};
  const ExpertId b{1};
  const ExpertId c{2};
  const Placement placement(0, 3, {{a, b, b}, {c, a}});
  EXPECT_EQ(equal_split_loads(Loads{3, 4, 5}, placement), (std::vector<double>{5.5, 6.5}));
  EXPECT_DOUBLE_EQ(equal_split_imbalance(Loads{3, 4, 5}, placement), 6.5 / 6);
  EXPECT_EQ(equal_split_imbalance(Loads{0, 0, 0}, placement), 1.0);
}

}  // namespace
}  // namespace moewe
