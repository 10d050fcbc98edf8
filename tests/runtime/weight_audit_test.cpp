#include "runtime/weight_audit.hpp"

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <random>
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

/// What this process may write to, reached through the file, so that memory which holds nothing may be looked
/// at too.
class OwnMemory {
 public:
  OwnMemory() : file_(::open("/proc/self/mem", O_RDWR)) { EXPECT_GE(file_, 0); }
  ~OwnMemory() { ::close(file_); }
  OwnMemory(const OwnMemory&) = delete;
  OwnMemory& operator=(const OwnMemory&) = delete;

  /// Calls visit(place, word) for every word.
  template <typename Visit>
  void for_each_word(Visit&& visit) const {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      std::uint64_t begin = 0, end = 0;
      char may_write = '-';
      if (std::sscanf(line.c_str(), "%lx-%lx r%c", &begin, &end, &may_write) != 3 || may_write != 'w')
        continue;
      constexpr std::uint64_t too_much = 1U << 30U;  // of which most was only set aside
      if (end - begin > too_much) continue;
      std::vector<std::uint32_t> words((end - begin) / sizeof(std::uint32_t));
      if (::pread(file_, words.data(), end - begin, static_cast<off_t>(begin)) < 0) continue;
      for (std::size_t i = 0; i < words.size(); ++i) visit(begin + i * sizeof(std::uint32_t), words[i]);
    }
  }

  /// Whether `from` was there.
  bool replace(std::uint64_t place, std::uint32_t from, std::uint32_t to) const {
    std::uint32_t there = 0;
    const auto at = static_cast<off_t>(place);
    if (::pread(file_, &there, sizeof there, at) != sizeof there || there != from) return false;
    return ::pwrite(file_, &to, sizeof to, at) == sizeof to;
  }

 private:
  int file_;
};

/// Flips a bit of whatever looks like `value`.
void spoil_in_memory(float value) {
  const OwnMemory memory;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  std::vector<std::uint64_t> places;
  memory.for_each_word([&](std::uint64_t place, std::uint32_t word) {
    if (word == bits) places.push_back(place);
  });
  std::size_t num_spoilt = 0;
  for (const std::uint64_t place : places) num_spoilt += memory.replace(place, bits, bits ^ 1U) ? 1U : 0U;
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

/// Every weight of every expert has a value that no other has, whose bits count up from `first_bits` on.
constexpr LayerSpec numbered_spec{{16, 24}, 6, {2, true}};
constexpr std::size_t weights_of_expert = 3 * 16 * 24;
constexpr std::uint32_t first_bits = 0x3d123457;

class NumberedWeights : public test::GeneratedWeights {
 public:
  using GeneratedWeights::GeneratedWeights;

  void read_expert(ExpertId expert, const ExpertMatrices& matrices) const override {
    auto bits = first_bits + static_cast<std::uint32_t>(index(expert) * weights_of_expert);
    for (const std::span<float> matrix : {matrices.gate, matrices.up, matrices.down})
      for (float& weight : matrix) weight = std::bit_cast<float>(bits++);
  }
};

/// By the number of the weight: wherever something looks like it, copies that were left behind included.
std::vector<std::vector<std::uint64_t>> places_of_weights(const OwnMemory& memory, std::size_t count) {
  std::vector<std::vector<std::uint64_t>> places(count);
  memory.for_each_word([&](std::uint64_t place, std::uint32_t word) {
    if (word - first_bits < count) places[word - first_bits].push_back(place);
  });
  return places;
}

/// As many as $MOEWE_FAULTS says.
std::size_t times() {
  const char* const times = std::getenv("MOEWE_FAULTS");
  return times == nullptr ? 200 : std::stoul(times);
}

/// One bit of one weight is another for one step, and the step before that and after it is as ever.
TEST(WeightAudit, AnyWeightThatChangesIsNamedByItsExpertAndRankBeforeItIsUsed) {
  constexpr std::size_t num_ranks = 2;
  const std::size_t count = numbered_spec.num_experts * weights_of_expert;
  run_ranks(num_ranks, test::patience, [&](Communicator& communicator) {
    EngineOptions options;
    options.verify = VerifyLevel::audit;
    Engine engine(communicator, loopback_backend(), options);
    MoeLayer layer(engine, numbered_spec, contiguous_placement(6, num_ranks),
                   NumberedWeights(numbered_spec, test::weights_seed));
    const std::vector<float> x = test::random_floats(5 * 16, 3);
    std::vector<float> y(x.size()), expected(x.size());
    layer.forward(x, expected);
    communicator.barrier();
    const OwnMemory memory;
    const auto places = places_of_weights(memory, communicator.rank() == Rank{0} ? count : 0);
    std::mt19937 random(7);  // the same on every rank
    for (std::size_t i = 0; i < times(); ++i) {
      const std::size_t weight = random() % count, expert = weight / weights_of_expert;
      const std::uint32_t bits = first_bits + static_cast<std::uint32_t>(weight);
      const std::uint32_t spoilt = bits ^ (1U << random() % 32);
      const auto replace = [&](std::uint32_t from, std::uint32_t to) {
        communicator.barrier();
        std::size_t num_replaced = 0;
        if (communicator.rank() == Rank{0}) {
          for (const std::uint64_t place : places[weight]) num_replaced += memory.replace(place, from, to);
          ASSERT_GT(num_replaced, 0U);
        }
        communicator.barrier();
      };
      replace(bits, spoilt);
      test::expect_shared_error(
          ErrorKind::verification,
          fmt::format("layer 0: the weights of expert {} on rank {}", expert, expert * num_ranks / 6),
          [&] { layer.forward(x, y); });
      replace(spoilt, bits);
    }
    layer.forward(x, y);
    EXPECT_EQ(y, expected);
  });
}

TEST(WeightAudit, IsNotPaidForWithoutAnAudit) {
  run_with_spoilt(in_expert, VerifyLevel::ledger, [](const auto& step) { EXPECT_NO_THROW(step()); });
}

}  // namespace
}  // namespace moewe
