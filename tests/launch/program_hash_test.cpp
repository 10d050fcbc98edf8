// The same bits on any number of ranks. What is tried here is a part of what tests/launch/one_hash tries.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/program.hpp"

namespace moewe {
namespace {

using test::hash_of;
using test::processes;
using test::Ranks;
using test::Sample;
using test::shipped;
using test::threads;

const std::vector<Ranks>& some_ranks() {
  static const std::vector<Ranks> ranks{threads(2), threads(3), processes(4)};
  return ranks;
}

void expect_one_hash(const std::string& options, const std::vector<Ranks>& all_ranks) {
  const std::string expected = hash_of(threads(1), options);
  for (const Ranks ranks : all_ranks) {
    EXPECT_EQ(hash_of(ranks, options), expected) << options << ", " << describe(ranks);
  }
}

/// As above, over both paths.
void expect_one_hash_by_any_path(const std::string& options, const std::vector<Ranks>& all_ranks) {
  const std::string expected = hash_of(threads(1), options);
  for (const Ranks ranks : all_ranks) {
    for (const char* path : {"direct", "message"}) {
      EXPECT_EQ(hash_of(ranks, options + " --path " + path), expected)
          << options << ", " << path << ", " << describe(ranks);
    }
  }
}

TEST(OneHash, OnAnyNumberOfThreadsAndProcesses) {
  expect_one_hash_by_any_path(shipped().run_recorded(),
                              {threads(2), threads(3), threads(4), threads(8), processes(1), processes(2),
                               processes(3), processes(4), processes(8)});
}

TEST(OneHash, OfAnyNumberOfTokensInEitherType) {
  for (const Sample& sample : test::samples()) {
    for (const std::size_t tokens : {sample.num_tokens, std::size_t{333}, std::size_t{1}, std::size_t{0}}) {
      for (const char* dtype : {"f32", "bf16"}) {
        const std::string options =
            fmt::format("{} --tokens {} --dtype {}", sample.run_recorded(), tokens, dtype);
        const std::string expected = hash_of(threads(3), options + " --path direct");
        EXPECT_EQ(hash_of(threads(1), options), expected) << options;
        EXPECT_EQ(hash_of(threads(8), options + " --path message"), expected) << options;
      }
    }
  }
}

TEST(OneHash, OfWholeCheckpointsAsProcesses) {
  const auto samples = test::whole_checkpoints();
  if (samples.empty()) GTEST_SKIP() << "MOEWE_DATA is not set";
  for (const Sample& sample : samples) {
    expect_one_hash(sample.run_recorded() + " --tokens 1237 --dtype bf16", {processes(3), processes(8)});
    expect_one_hash(sample.run_recorded() + " --tokens 1237", {processes(2), processes(4)});
  }
}

TEST(OneHash, OfEveryPolicyOfOverflow) {
  for (const Sample& sample : test::samples()) {
    for (const char* policy : {"drop-last", "drop-lowest-weight", "next-choice"}) {
      expect_one_hash(sample.run_recorded() + " --tokens 317 --capacity-factor 1 --overflow " + policy,
                      sample.folder == shipped().folder ? some_ranks() : std::vector{threads(3)});
    }
    expect_one_hash(sample.run_recorded() +
                        " --tokens 317 --capacity-factor 0.5 --overflow drop-last --renormalise --dtype bf16",
                    {threads(3)});
  }
}

TEST(OneHash, WhateverACoreIsGiven) {
  const std::string options = shipped().run_recorded();
  const std::string expected = hash_of(threads(1), options);
  for (const char* count : {"2", "3", "4"}) {
    EXPECT_EQ(hash_of(threads(1), options + " --threads " + count), expected);
    EXPECT_EQ(hash_of(threads(2), options + " --threads " + count), expected);
  }
}

TEST(OneHash, OfGeneratedTokensAndWeights) {
  for (const std::string& model :
       {shipped().run(),
        std::string("run --model custom --hidden 40 --intermediate 72 --experts 12 --topk 3"),
        std::string(
            "run --model custom --hidden 64 --intermediate 32 --experts 5 --topk 2 --activation relu"),
        std::string("run --model custom --hidden 64 --intermediate 32 --experts 7 --topk 7 --activation gelu "
                    "--two-matrix --dtype bf16")}) {
    const std::string options = model + " --tokens 100 --steps 2 --seed 5";
    expect_one_hash(options, some_ranks());
    EXPECT_NE(hash_of(threads(2), options + "0"), hash_of(threads(2), options)) << model;
  }
}

TEST(OneHash, ChangesWithWhatIsComputed) {
  const std::string options = shipped().run_recorded() + " --tokens 100";
  const std::string plain = hash_of(threads(2), options);
  for (const char* other : {" --dtype bf16", " --layers 1", " --steps 2", " --capacity-factor 0.5",
                            " --routing uniform", " --capacity-factor 0.5 --overflow next-choice"}) {
    EXPECT_NE(hash_of(threads(2), options + other), plain) << other;
  }
  EXPECT_EQ(hash_of(threads(2), options + " --seed 5"), plain);
  EXPECT_EQ(hash_of(threads(2), options + " --verify off"), plain);
}

}  // namespace
}  // namespace moewe
