#include "launch/place_options.hpp"

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "comm/error.hpp"

namespace moewe {
namespace {

using Arguments = std::vector<std::string>;

PlaceOptions parse(const Arguments& more) {
  Arguments all{"--loads", "FILE", "--ranks", "4", "--slots-per-rank", "3"};
  all.insert(all.end(), more.begin(), more.end());
  return parse_place_options(all);
}

std::string refusal(const Arguments& more) {
  try {
    parse(more);
  } catch (const InvalidInput& error) {
    return error.what();
  }
  return "";
}

TEST(PlaceOptions, HaveTheDefaultsThatHelpTells) {
  const PlaceOptions options = parse({});
  EXPECT_EQ(options.loads, "FILE");
  EXPECT_EQ(options.ranks, 4U);
  EXPECT_EQ(options.slots_per_rank, 3U);
  EXPECT_EQ(options.nodes, 1U);
  EXPECT_EQ(options.groups, 1U);
  EXPECT_EQ(options.seed, 1U);
  EXPECT_FALSE(options.algorithm);
  EXPECT_FALSE(options.target);
  EXPECT_FALSE(options.from || options.score || options.out || options.json || options.plot);
  EXPECT_FALSE(options.expert_bytes || options.experts || options.cost || options.step_tokens);
  EXPECT_EQ(options.out_format, MapFormat::moewe);
  EXPECT_FALSE(options.co_activation);
}

TEST(PlaceOptions, AreRead) {
  const PlaceOptions options = parse({"--nodes",        "2",
                                      "--groups",       "4",
                                      "--algorithm",    "eplb-hierarchical",
                                      "--from",         "A",
                                      "--score",        "B",
                                      "--out",          "C",
                                      "--out-format",   "tensorrt-llm",
                                      "--json",         "D",
                                      "--plot",         "E",
                                      "--target",       "1.05",
                                      "--expert-bytes", "44MB",
                                      "--experts",      "12",
                                      "--seed",         "7",
                                      "--cost",         "F",
                                      "--step-tokens",  "4096"});
  EXPECT_EQ(options.nodes, 2U);
  EXPECT_EQ(options.groups, 4U);
  EXPECT_EQ(options.algorithm, PlaceAlgorithm::eplb_hierarchical);
  EXPECT_EQ(options.from, "A");
  EXPECT_EQ(options.score, "B");
  EXPECT_EQ(options.out, "C");
  EXPECT_EQ(options.out_format, MapFormat::tensorrt_llm);
  EXPECT_EQ(options.json, "D");
  EXPECT_EQ(options.plot, "E");
  EXPECT_EQ(options.target, 1'050'000);
  EXPECT_EQ(options.expert_bytes, 44'000'000U);
  EXPECT_EQ(options.experts, 12U);
  EXPECT_EQ(options.seed, 7U);
  EXPECT_EQ(options.cost, "F");
  EXPECT_EQ(options.step_tokens, 4096U);
}

TEST(PlaceOptions, BringExpertsTogetherOnRequest) {
  EXPECT_TRUE(parse({"--co-activation"}).co_activation);
  EXPECT_TRUE(parse({"--co-activation", "--algorithm", "robust", "--nodes", "2"}).co_activation);
  EXPECT_EQ(refusal({"--co-activation", "--algorithm", "eplb"}),
            "--co-activation needs --algorithm moewe or robust");
  EXPECT_EQ(refusal({"--co-activation", "--from", "A"}),
            "--co-activation makes a placement anew and cannot be used with --from");
  EXPECT_EQ(refusal({"--co-activation", "--groups", "2"}),
            "--co-activation cannot be used with --groups, which already keep experts together");
}

TEST(PlaceOptions, NameEveryAlgorithm) {
  for (const char* name : {"moewe", "robust", "eplb", "contiguous"})
    EXPECT_STREQ(name_of(parse({"--algorithm", name}).algorithm.value()), name);
}

TEST(PlaceOptions, AreRefusedInOneSentence) {
  EXPECT_EQ(
      refusal({"--algorithm", "greedy"}),
      "--algorithm greedy is not available; choose from: moewe, robust, eplb, eplb-hierarchical, contiguous");
  EXPECT_EQ(refusal({"--out", "A", "--out-format", "vllm"}),
            "--out-format vllm is not available; choose from: moewe, sglang, tensorrt-llm");
  EXPECT_EQ(refusal({"--out-format", "moewe"}), "--out-format needs --out");
  EXPECT_EQ(refusal({"--expert-bytes", "1MB"}), "--expert-bytes needs --from");
  EXPECT_EQ(refusal({"--step-tokens", "5"}), "--step-tokens needs --cost");
  EXPECT_EQ(refusal({"--cost", "F", "--step-tokens", "0"}),
            "--step-tokens must be a whole number from 1 to 4294967296, not '0'");
  EXPECT_EQ(refusal({"--nodes", "3"}), "--ranks 4 must be a multiple of --nodes 3");
  EXPECT_EQ(refusal({"--nodes", "5"}), "--nodes must be a whole number from 1 to 4, not '5'");
  EXPECT_EQ(refusal({"--target", "0.9"}), "--target must be 1 or more: the largest rank load over the mean");
  EXPECT_EQ(refusal({"--groups", "0"}), "--groups must be a whole number from 1 to 65536, not '0'");
  for (const Arguments& shape : {Arguments{}, Arguments{"--groups", "3", "--nodes", "2"}}) {
    Arguments arguments{"--algorithm", "eplb-hierarchical"};
    arguments.insert(arguments.end(), shape.begin(), shape.end());
    EXPECT_EQ(refusal(arguments),
              "--algorithm eplb-hierarchical needs --groups, as many as --nodes or a multiple of them");
  }
  EXPECT_THROW(parse_place_options({"--ranks", "4", "--slots-per-rank", "3"}), InvalidInput);
  EXPECT_THROW(parse_place_options({"--loads", "FILE", "--ranks", "4"}), InvalidInput);
  EXPECT_THROW(parse_place_options({"--loads", "FILE", "--ranks", "16384", "--slots-per-rank", "4096"}),
               InvalidInput);
}

}  // namespace
}  // namespace moewe
