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
  EXPECT_EQ(options.model.checkpoint, "DIR");
  EXPECT_FALSE(options.model.preset);
  EXPECT_FALSE(options.model.custom);
  EXPECT_FALSE(options.routing.is_forced());
  EXPECT_EQ(options.tokens, 4U);
  EXPECT_FALSE(options.tokens_per_rank);
  EXPECT_EQ(options.steps, 1U);
  EXPECT_EQ(options.seed, 0U);
  EXPECT_EQ(options.layer.dtype, Dtype::f32);
  EXPECT_EQ(options.layer.combine, Combine::reproducible);
  EXPECT_FALSE(options.layer.capacity);
  EXPECT_EQ(options.exchange.path, PathRequest::automatic);
  EXPECT_EQ(options.exchange.carrier, CarrierRequest::automatic);
  EXPECT_EQ(options.exchange.calibrate, Calibrate::cached);
  EXPECT_EQ(options.verify, VerifyLevel::ledger);
  EXPECT_EQ(options.device, DeviceRequest::cpu);
  EXPECT_EQ(options.timeout_s, 120);
  EXPECT_FALSE(options.ranks);
  EXPECT_FALSE(options.threads);
  EXPECT_FALSE(options.memory_limit);
  EXPECT_FALSE(options.layers);
  EXPECT_FALSE(options.placement);
  EXPECT_FALSE(parse({"--placement", "contiguous"}).placement);
  EXPECT_EQ(parse({"--placement", "map.json"}).placement, "map.json");
}

TEST(RunOptions, NameEveryPath) {
  EXPECT_EQ(parse({"--path", "direct"}).exchange.path, PathRequest::direct);
  EXPECT_EQ(parse({"--path", "two-level"}).exchange.path, PathRequest::two_level);
}

TEST(RunOptions, AreRead) {
  const RunOptions options = parse({"--layers",
                                    "3,0-1",
                                    "--path",
                                    "message",
                                    "--carrier",
                                    "ucx",
                                    "--verify",
                                    "off",
                                    "--timeout",
                                    "2.5",
                                    "--ranks=8",
                                    "--seed",
                                    "18446744073709551615",
                                    "--threads",
                                    "2",
                                    "--dtype",
                                    "bf16",
                                    "--combine",
                                    "fast",
                                    "--memory-limit",
                                    "1.5GiB"});
  EXPECT_EQ(options.layers, (std::vector<std::size_t>{0, 1, 3}));
  EXPECT_EQ(options.exchange.path, PathRequest::message);
  EXPECT_EQ(options.exchange.carrier, CarrierRequest::ucx);
  EXPECT_EQ(options.verify, VerifyLevel::off);
  EXPECT_EQ(options.timeout_s, 2.5);
  EXPECT_EQ(options.ranks, 8U);
  EXPECT_EQ(options.seed, UINT64_MAX);
  EXPECT_EQ(options.threads, 2U);
  EXPECT_EQ(options.layer.dtype, Dtype::bf16);
  EXPECT_EQ(options.layer.combine, Combine::fast);
  EXPECT_EQ(options.memory_limit, 1610612736U);
}

TEST(RunOptions, NameEveryLevelOfVerification) {
  for (const VerifyLevel level : {VerifyLevel::off, VerifyLevel::ledger, VerifyLevel::audit}) {
    EXPECT_EQ(parse({"--verify", name_of(level)}).verify, level);
  }
}

TEST(RunOptions, HelpNeedsNothingElse) { EXPECT_TRUE(parse_run_options({"--help"}).help); }

TEST(RunOptions, SayWhichModelIsRun) {
  EXPECT_EQ(parse_run_options({"--model", "deepseek-v3", "--tokens", "1"}).model.preset, "deepseek-v3");
  const auto custom = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"--model", "custom", "--tokens", "1", "--hidden", "8", "--intermediate", "16",
                               "--experts", "4", "--topk", "2"});
    return parse_run_options(more).model.custom.value();
  };
  const LayerSpec plain = custom({});
  EXPECT_EQ(plain.expert.hidden, 8U);
  EXPECT_EQ(plain.expert.intermediate, 16U);
  EXPECT_EQ(plain.num_experts, 4U);
  EXPECT_EQ(plain.router.top_k, 2U);
  EXPECT_EQ(plain.expert.activation, Activation::silu);
  EXPECT_TRUE(plain.expert.gated);
  EXPECT_FALSE(custom({"--two-matrix"}).expert.gated);
  EXPECT_TRUE(custom({"--activation", "gelu"}).expert.gated);
  EXPECT_FALSE(custom({"--activation", "relu"}).expert.gated);
}

TEST(RunOptions, SayWhatChoosesTheExperts) {
  EXPECT_FALSE(parse({"--routing", "router"}).routing.is_forced());
  EXPECT_EQ(parse({"--routing", "zipf:1.5"}).routing.forced, (ForcedRoutingSpec{Popularity::zipf, 1.5}));
  EXPECT_EQ(parse({"--routing", "hot:3"}).routing.forced, (ForcedRoutingSpec{Popularity::hot, 3}));
  EXPECT_EQ(parse({"--routing", "trace:a:b"}).routing.trace, "a:b");
  const RunOptions by_trace = parse_run_options({"--checkpoint", "DIR", "--routing", "trace:FILE"});
  EXPECT_FALSE(by_trace.tokens);
}

TEST(RunOptions, SayWhatBecomesOfOverflow) {
  EXPECT_EQ(parse({"--capacity-factor", "1.25"}).layer.capacity,
            (CapacityOptions{CapacityRule::megatron, 1.25, OverflowPolicy::drop_last, false}));
  EXPECT_EQ(parse({"--capacity-factor", "2", "--capacity-rule", "mesh", "--overflow", "next-choice",
                   "--renormalise"})
                .layer.capacity,
            (CapacityOptions{CapacityRule::mesh, 2, OverflowPolicy::next_choice, true}));
  EXPECT_EQ(parse({"--capacity-factor", "2", "--fair-capacity"}).layer.capacity,
            (CapacityOptions{CapacityRule::megatron, 2, OverflowPolicy::drop_last, false, true}));
}

TEST(RunOptions, TellInOneListWhatMustAgreeBetweenRanks) {
  const auto plain = parse({}).shared_settings();
  for (const std::vector<std::string>& other :
       std::vector<std::vector<std::string>>{{"--layers", "1"},
                                             {"--steps", "2"},
                                             {"--seed", "1"},
                                             {"--routing", "uniform"},
                                             {"--dtype", "bf16"},
                                             {"--combine", "fast"},
                                             {"--capacity-factor", "1"},
                                             {"--memory-limit", "1GB"},
                                             {"--path", "message"},
                                             {"--carrier", "mpi"},
                                             {"--calibrate", "fresh"},
                                             {"--verify", "off"},
                                             {"--timeout", "3"},
                                             {"--input", "FILE"},
                                             {"--output", "FILE"},
                                             {"--json", "FILE"}}) {
    EXPECT_NE(parse(other).shared_settings(), plain) << other.front();
  }
  EXPECT_NE(parse({"--output", "FILE", "--resume"}).shared_settings(),
            parse({"--output", "FILE"}).shared_settings());
  for (const std::vector<std::string>& own : std::vector<std::vector<std::string>>{{"--threads", "2"}}) {
    EXPECT_EQ(parse(own).shared_settings(), plain) << own.front();
  }
}

TEST(RunOptions, AreRefusedInOneSentence) {
  EXPECT_EQ(refusal({}), "either --checkpoint DIR or --model NAME is required; see moewe run --help");
  EXPECT_EQ(refusal({"--checkpoint", "DIR"}),
            "one of --input FILE, --tokens N and --tokens-per-rank N is required");
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"--checkpoint", "DIR", "--tokens", "4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return refusal(arguments);
  };
  EXPECT_EQ(with({"--steps", "0"}), "--steps must be a whole number from 1 to 1000000000, not '0'");
  EXPECT_EQ(with({"--steps", "-1"}), "--steps must be a whole number from 1 to 1000000000, not '-1'");
  EXPECT_EQ(with({"--seed", "1e3"}),
            "--seed must be a whole number from 0 to 18446744073709551615, not '1e3'");
  EXPECT_EQ(with({"--ranks", "0"}), "--ranks must be a whole number from 1 to 1024, not '0'");
  EXPECT_EQ(with({"--dtype", "f16"}), "--dtype f16 is not available; choose from: f32, bf16");
  EXPECT_EQ(with({"--path", "leader"}),
            "--path leader is not available; choose from: auto, direct, message, two-level");
  EXPECT_EQ(with({"--carrier", "gull"}),
            "--carrier gull is not available; choose from: auto, mpi, ucx, nccl");
  EXPECT_EQ(with({"--carrier", "nccl"}),
            "--carrier nccl is for --device gpu: NCCL carries memory of GPUs alone");
  EXPECT_EQ(with({"--placement", ""}), "--placement is empty");
  EXPECT_EQ(with({"--verify", "reference"}),
            "--verify reference is not available; choose from: ledger, audit, off");
  for (const char* timeout : {"nan", "-1", "3s", "0", "1e7"}) {
    EXPECT_EQ(with({"--timeout", timeout}),
              std::string("--timeout must be a number above 0 and up to 1000000, not '") + timeout + "'");
  }
  for (const char* limit : {"0", "-1", "0.5", "lots", "3 GB 4", "1e30", "nan", "2gb"}) {
    EXPECT_EQ(with({"--memory-limit", limit}),
              std::string("--memory-limit must be a size such as 1500000000, 1.5GB or 1.5GiB, not '") +
                  limit + "'");
  }
  EXPECT_NE(with({"--no-such-option"}), "");
  EXPECT_NE(with({"--step", "3"}), "");  // no guessing
  EXPECT_EQ(with({"--resume"}), "--resume needs --output FILE");
  EXPECT_EQ(with({"extra"}), "'extra' belongs to no option");
  EXPECT_NE(with({"--tokens", "5"}), "");  // twice
  for (const char* layers : {"", ",", "1,", "a", "3-1", "1,1", "0-2,1", "-1", "1-", "99999999999999999999"}) {
    EXPECT_NE(with({"--layers", layers}), "") << layers;
  }
}

}  // namespace
}  // namespace moewe
