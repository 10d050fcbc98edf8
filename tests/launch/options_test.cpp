#include "launch/options.hpp"

#include <gtest/gtest.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

RunOptions parse(std::vector<std::string> more) {
  more.insert(more.begin(), {"--checkpoint", "DIR", "--tokens", "4"});
  return parse_run_options(more);
}

std::string refusal(const std::vector<std::string>& arguments) {
  try {
    parse_run_options(arguments);
  } catch (const InvalidInput& error) {
    return error.what();
  }
  return "";
}

TEST(RunOptions, HaveTheDefaultsThatHelpTells) {
  const RunOptions options = parse({});
  EXPECT_EQ(options.checkpoint, "DIR");
  EXPECT_EQ(options.tokens, 4U);
  EXPECT_EQ(options.steps, 1U);
  EXPECT_EQ(options.seed, 0U);
  EXPECT_EQ(options.path, PathRequest::automatic);
  EXPECT_EQ(options.verify, VerifyLevel::ledger);
  EXPECT_EQ(options.timeout_s, 120);
  EXPECT_FALSE(options.ranks);
  EXPECT_FALSE(options.layers);
}

TEST(RunOptions, AreRead) {
  const RunOptions options = parse({"--layers", "3,0-1", "--path", "message", "--verify", "off", "--timeout",
                                    "2.5", "--ranks=8", "--seed", "18446744073709551615", "--threads", "2"});
  EXPECT_EQ(options.layers, (std::vector<std::size_t>{0, 1, 3}));
  EXPECT_EQ(options.path, PathRequest::message);
  EXPECT_EQ(options.verify, VerifyLevel::off);
  EXPECT_EQ(options.timeout_s, 2.5);
  EXPECT_EQ(options.ranks, 8U);
  EXPECT_EQ(options.seed, UINT64_MAX);
  EXPECT_EQ(options.threads, 2);
}

TEST(RunOptions, AreRefusedInOneSentence) {
  EXPECT_EQ(refusal({}), "--checkpoint DIR is required; see moewe run --help");
  EXPECT_EQ(refusal({"--checkpoint", "DIR"}), "either --input FILE or --tokens N is required");
  const std::vector<std::string> enough{"--checkpoint", "DIR", "--tokens", "4"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = enough;
    arguments.insert(arguments.end(), more.begin(), more.end());
    return refusal(arguments);
  };
  EXPECT_EQ(with({"--steps", "0"}), "--steps must be a whole number from 1 to 1000000000, not '0'");
  EXPECT_EQ(with({"--steps", "-1"}), "--steps must be a whole number from 1 to 1000000000, not '-1'");
  EXPECT_EQ(with({"--seed", "1e3"}),
            "--seed must be a whole number from 0 to 18446744073709551615, not '1e3'");
  EXPECT_EQ(with({"--ranks", "0"}), "--ranks must be a whole number from 1 to 1024, not '0'");
  EXPECT_EQ(with({"--dtype", "bf16"}), "--dtype bf16 is not available; choose from: f32");
  EXPECT_EQ(with({"--path", "two-level"}),
            "--path two-level is not available; choose from: auto, direct, message");
  EXPECT_EQ(with({"--placement", "map.json"}),
            "--placement map.json is not available; choose from: contiguous");
  EXPECT_EQ(with({"--verify", "audit"}), "--verify audit is not available; choose from: ledger, off");
  EXPECT_EQ(with({"--timeout", "nan"}),
            "--timeout must be a number of seconds above 0 and up to 1000000, not 'nan'");
  EXPECT_EQ(with({"--timeout", "-1"}),
            "--timeout must be a number of seconds above 0 and up to 1000000, not '-1'");
  EXPECT_EQ(with({"--timeout", "3s"}),
            "--timeout must be a number of seconds above 0 and up to 1000000, not '3s'");
  EXPECT_NE(with({"--no-such-option"}), "");
  EXPECT_NE(with({"--step", "3"}), "");  // no guessing
  EXPECT_EQ(with({"extra"}), "'extra' belongs to no option");
  EXPECT_NE(with({"--tokens", "5"}), "");  // twice
  for (const char* layers : {"", ",", "1,", "a", "3-1", "1,1", "0-2,1", "-1", "1-", "99999999999999999999"}) {
    EXPECT_NE(with({"--layers", layers}), "") << layers;
  }
}

}  // namespace
}  // namespace moewe
