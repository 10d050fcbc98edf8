#include "launch/placement_map.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "comm/error.hpp"
#include "launch/tensorrt_map.hpp"
#include "tests/support/tensor_bytes.hpp"

namespace moewe {
namespace {

using test::message_of;

using Slots = std::vector<std::vector<ExpertId>>;

/// Every expert in some slot, on ranks of equally many.
Placement draw_placement(std::mt19937& random, std::size_t num_experts, std::size_t num_ranks,
                         std::size_t of_rank) {
  std::vector<ExpertId> experts;
  for (std::size_t slot = 0; slot < num_ranks * of_rank; ++slot)
    experts.push_back(expert_at(slot % num_experts));
  std::shuffle(experts.begin(), experts.end(), random);
  Slots slots(num_ranks);
  for (std::size_t slot = 0; slot < experts.size(); ++slot) slots[slot / of_rank].push_back(experts[slot]);
  return {0, num_experts, std::move(slots)};
}

void expect_same(const PlacementMap& one, const PlacementMap& other) {
  ASSERT_EQ(one.size(), other.size());
  for (const auto& [layer, placement] : one) {
    ASSERT_EQ(other.count(layer), 1U) << layer;
    EXPECT_EQ(placement.digest(), other.at(layer).digest()) << layer;
  }
  EXPECT_EQ(digest(one), digest(other));
}

PlacementMap parse(const std::string& text, std::size_t num_ranks,
                   std::optional<std::size_t> num_experts = {}) {
  return parse_placement_map(text, {num_ranks, num_experts}, "MAP");
}

std::string refusal(const std::string& text, std::size_t num_ranks = 2,
                    std::optional<std::size_t> num_experts = {}) {
  return message_of<InvalidInput>([&] { parse(text, num_ranks, num_experts); });
}

TEST(PlacementMap, IsReadAsItWasWrittenInEveryFormat) {
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    PlacementMap map;
    const std::size_t of_rank = 2 + random() % 3;
    for (std::size_t layer = 0; layer < 3; ++layer) map.emplace(layer, draw_placement(random, 5, 3, of_rank));
    expect_same(parse(moewe_map(map), 3), map);
    expect_same(parse(sglang_map(map), 3, 5), map);
    expect_same(parse(tensorrt_map(map), 3), map);
  }
}

TEST(PlacementMap, KeepsUnequalSlotsInItsOwnFormatOnly) {
  PlacementMap map;
  map.emplace(7, Placement(0, 3, Slots{{ExpertId{1}, ExpertId{0}, ExpertId{2}}, {}}));
  expect_same(parse(moewe_map(map), 2), map);
  EXPECT_NE(message_of<InvalidInput>([&] { tensorrt_map(map); }).find("layer 7: rank 1 has 0 slots"),
            std::string::npos);
  EXPECT_NE(message_of<InvalidInput>([&] { sglang_map(map); }).find("layer 0 is missing"), std::string::npos);
}

TEST(PlacementMap, IsReadAsOtherSystemsWriteIt) {
  const PlacementMap sglang = parse(R"({"physical_to_logical_map": [[0, 1, 2, 0], [2, 2, 1, 0]]})", 2);
  EXPECT_EQ(sglang.at(1).slot_of(ExpertId{0}), (Slot{Rank{1}, 1}));
  EXPECT_EQ(sglang.at(0).slots_of(ExpertId{0}).size(), 2U);
  for (const char* yaml :
       {"num_slots: 4\ninitial_global_assignments:\n  3: [0, 1, 2, 0]\nlayer_updates_per_iter: 0\n",
        "---\n# by hand\ninitial_global_assignments:\n  3:\n  - 0\n  - 1  # one\n  - 2\n  - 0\n",
        "layer_updates_per_iter: 2\ninitial_global_assignments:\n    3: [0,\n      1, 2,\n\n  0]\nnum_slots: "
        "4",
        "initial_global_assignments:\r\n  3: [ 0 , 1 ,2, 0,]\r\n"}) {
    expect_same(parse(yaml, 2), parse(R"({"moewe_placement": 1, "experts": 3,
                                          "layers": [{"layer": 3, "experts_of_rank": [[0, 1], [2, 0]]}]})",
                                      2));
  }
}

TEST(PlacementMap, IsRefusedInOneSentence) {
  const std::string own = R"({"moewe_placement": 1, "experts": 2, "layers": )";
  for (
      const auto& [text, message] : std::vector<std::pair<std::string, std::string>>{
          {"{}", "MAP: has no placement: neither 'physical_to_logical_map' nor 'moewe_placement' is there"},
          {R"({"physical_to_logical_map": []})", "MAP: physical_to_logical_map is empty"},
          {R"({"physical_to_logical_map": [[0, 1, 0]]})",
           "MAP: 3 slots cannot be equally many on each of 2 ranks"},
          {R"({"physical_to_logical_map": [[0, 2]]})", "MAP: layer 0: placement: expert 1 is on no rank"},
          {R"({"physical_to_logical_map": [[0, -1]]})",
           "MAP: physical_to_logical_map[0][1] must be a whole number from 0 to 65535"},
          {R"({"physical_to_logical_map": [[0, 1], [0]]})",
           "MAP: physical_to_logical_map[1] has 1 numbers; every row must have equally many, and one at "
           "least"},
          {R"({"physical_to_logical_map": 3})", "MAP: physical_to_logical_map must be a list"},
          {R"({"moewe_placement": 2})", "MAP: moewe_placement, the format, must be 1"},
          {own + "[]}", "MAP: layers is empty"},
          {own + R"([{"layer": 1}]})", "MAP: layer 1: 'experts_of_rank' is missing"},
          {own + R"([{"layer": 1, "experts_of_rank": [[0, 1]]}]})",
           "MAP: layer 1: is placed on 1 ranks, not 2"},
          {own +
               R"([{"layer": 1, "experts_of_rank": [[0], [1]]}, {"layer": 1, "experts_of_rank": [[0], [1]]}]})",
           "MAP: layer 1: stands there twice"},
          {"", "MAP: line 0: initial_global_assignments is missing or empty"},
          {"num_slots: 2\n", "MAP: line 1: initial_global_assignments is missing or empty"},
          {"num_slots: 2\ninitial_global_assignments:\n  0: [0, 1, 1]\n", "MAP: layer 0 has 3 slots, not 2"},
          {"initial_global_assignments:\n  0: [0, 1\n", "MAP: line 2: a list goes on after a comma only"},
          {"initial_global_assignments:\n  0: [0,\n", "MAP: line 2: a list has no end"},
          {"initial_global_assignments:\n  0: [0, x]\n", "MAP: line 2: 'x' is not a whole number below 2^31"},
          {"initial_global_assignments:\n  0: [0, -1]\n",
           "MAP: line 2: '-1' is not a whole number below 2^31"},
          {"initial_global_assignments:\n  0: {0, 1}\n",
           "MAP: line 2: a layer's slots must be a list such as [0, 1]"},
          {"initial_global_assignments:\n  0: [0, 1]\n  0: [0, 1]\n",
           "MAP: line 3: layer 0 stands there twice"},
          {"initial_global_assignments:\n- 0\n", "MAP: line 2: a slot belongs to no layer"},
          {"initial_global_assignments:\n\t0: [0, 1]\n", "MAP: line 2: tabs cannot indent"},
          {"num_slots: 2\nnum_slots: 2\n", "MAP: line 2: 'num_slots: 2' is no key that is new"},
          {"  0: [0]\n", "MAP: line 1: '0: [0]' is no layer of initial_global_assignments"}}) {
    EXPECT_EQ(refusal(text), message) << text;
  }
  EXPECT_NE(refusal("anything: 1\n").find("MAP: line 1: 'anything' is not one of num_slots"),
            std::string::npos);
  EXPECT_EQ(refusal(own + R"([{"layer": 1, "experts_of_rank": [[0], [1]]}]})", 2, 3),
            "MAP: places 2 experts, not 3");
  EXPECT_EQ(refusal(R"({"physical_to_logical_map": [[0, 1]]})", 2, 3),
            "MAP: layer 0: placement: expert 2 is on no rank");
}

}  // namespace
}  // namespace moewe
