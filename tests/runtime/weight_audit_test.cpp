#include "runtime/weight_audit.hpp"

#include <bit>
#include <cstdint>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "comm/error.hpp"
#include "comm/loopback/run_ranks.hpp"
#include "tests/support/layer_runs.hpp"

namespace moewe {
namespace {

std::string complaint(const WeightAudit& audit) {
  try {
    audit.check(2);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::verification);
    return error.what();
  }
  return "";
}

TEST(WeightAudit, EveryByteThatChangesIsFoundAndItsPartNamed) {
  std::vector<std::byte> in(120), out(37), bias(5);
  WeightAudit audit;
  EXPECT_EQ(complaint(audit), "");
  audit.add("the weights of expert 4", {in, out});
  audit.add("the weights of the router", {bias, {}});
  EXPECT_EQ(complaint(audit), "");
  const auto expect_found = [&](std::vector<std::byte>& bytes, const std::string& part) {
    for (std::byte& byte : bytes) {
      byte ^= std::byte{0x10};
      EXPECT_EQ(complaint(audit), "audit: " + part + " are not what they were when they were loaded");
      byte ^= std::byte{0x10};
    }
  };
  expect_found(in, "the weights of expert 4");
  expect_found(out, "the weights of expert 4");
  expect_found(bias, "the weights of the router");
  EXPECT_EQ(complaint(audit), "");
}

/// Values that nothing but these weights have.
constexpr float in_expert = 12345.678F, in_router = 7654.321F, in_shared = 54321.876F;
constexpr ExpertId marked{3};

class MarkedWeights : public test::GeneratedWeights {
 public:
  using GeneratedWeights::GeneratedWeights;

  void read_router(std::span<float> weights) const override {
    GeneratedWeights::read_router(weights);
    weights[7] = in_router;
  }
  void read_expert(ExpertId expert, const ExpertMatrices& matrices) const override {
    GeneratedWeights::read_expert(expert, matrices);
    if (expert == marked) matrices.down[11] = in_expert;
  }
  void read_shared_expert(const ExpertMatrices& matrices) const override {
    GeneratedWeights::read_shared_expert(matrices);
    matrices.up[2] = in_shared;
  }
};

/// Flips a bit of whatever looks like `value` in memory that this process may write to. Through the file, so
/// that memory which holds nothing may be looked at too.
void spoil_in_memory(float value) {
  const int memory = ::open("/proc/self/mem", O_RDWR);
  ASSERT_GE(memory, 0);
  std::ifstream maps("/proc/self/maps");
  std::size_t num_spoilt = 0;
  for (std::string line; std::getline(maps, line);) {
    std::uint64_t begin = 0, end = 0;
    char may_write = '-';
    if (std::sscanf(line.c_str(), "%lx-%lx r%c", &begin, &end, &may_write) != 3 || may_write != 'w') continue;
    constexpr std::uint64_t too_much = 1U << 30U;  // of which most was only set aside
    if (end - begin > too_much) continue;
    std::vector<std::uint32_t> words((end - begin) / sizeof(std::uint32_t));
    if (::pread(memory, words.data(), end - begin, static_cast<off_t>(begin)) < 0) continue;
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (words[i] != std::bit_cast<std::uint32_t>(value)) continue;
      const std::uint32_t spoilt = words[i] ^ 1U;
      const auto place = static_cast<off_t>(begin + i * sizeof spoilt);
      num_spoilt += ::pwrite(memory, &spoilt, sizeof spoilt, place) == sizeof spoilt ? 1U : 0U;
    }
  }
  ::close(memory);
  ASSERT_GT(num_spoilt, 0U);
}

/// Three steps of a layer on two ranks; before the last one a weight of this value changes. Expects what
/// `expect` says of that step, given as a function.
template <typename Expect>
void run_with_spoilt(float value, VerifyLevel verify, Expect&& expect) {
  LayerSpec spec{{16, 24}, 6, {2, true}};
  spec.shared_intermediate = 8;
  run_ranks(2, test::patience, [&](Communicator& communicator) {
    EngineOptions options;
    options.verify = verify;
    Engine engine(communicator, loopback_backend(), options);
    MoeLayer layer(engine, spec, contiguous_placement(6, 2), MarkedWeights(spec, test::weights_seed));
    const std::vector<float> x = test::random_floats(5 * 16, 3);
    std::vector<float> y(x.size());
    for (int step = 0; step < 2; ++step) layer.forward(x, y);
    communicator.barrier();
    if (communicator.rank() == Rank{0}) spoil_in_memory(value);
    communicator.barrier();
    expect([&] { layer.forward(x, y); });
  });
}

TEST(WeightAudit, NoStepComputesWithWeightsThatHaveChanged) {
  const auto named = [](const std::string& part) {
    return [part](const auto& step) { test::expect_shared_error(ErrorKind::verification, part, step); };
  };
  run_with_spoilt(in_expert, VerifyLevel::audit, named("layer 0: the weights of expert 3 on rank 1"));
  run_with_spoilt(in_router, VerifyLevel::audit, named("layer 0: the weights of the router on rank "));
  run_with_spoilt(in_shared, VerifyLevel::audit, named("layer 0: the weights of the shared expert on rank "));
}

TEST(WeightAudit, IsNotPaidForWithoutAnAudit) {
  run_with_spoilt(in_expert, VerifyLevel::ledger, [](const auto& step) { EXPECT_NO_THROW(step()); });
}

}  // namespace
}  // namespace moewe
