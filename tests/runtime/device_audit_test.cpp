// What is spoilt between a push and what is computed with it, on emulated devices, is named, and computed on
// by nobody.

#include <cstring>
#include <gtest/gtest.h>

#include "comm/emulated/emulated_queue.hpp"
#include "comm/error.hpp"
#include "runtime/kernels/group_rows.hpp"
#include "tests/support/device_layers.hpp"
#include "tests/support/odd_device.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

constexpr std::size_t num_ranks = 3;
constexpr std::size_t num_tokens = 8;  // of each rank
constexpr std::size_t num_steps = 3;

LayerSpec any_spec() { return {{16, 12}, 6, {2, true}}; }

/// What goes wrong on rank 1 in its second step, before what it has written is known to others.
struct Strike {
  std::size_t publication = 0;  ///< of the step, from 1; 0: what it has planned, before it looks at it itself
  std::function<void(const DeviceStepMemory&)> spoil{};
};

/// What is done just before a queue sets flags, or copies.
struct Hooks {
  std::function<void(std::size_t)> before_publication{};  ///< with its number on that queue, from 1
  std::function<void(const void*)> before_copy{};         ///< with where it is from
};

class SpoilingQueue : public EmulatedQueue {
 public:
  explicit SpoilingQueue(Hooks& hooks) : hooks_(hooks) {}

  void set_flags(std::span<const FlagValue> flags) override {
    enqueue([this, number = ++num_published_] {
      if (hooks_.before_publication) hooks_.before_publication(number);
    });
    EmulatedQueue::set_flags(flags);
  }

  void copy(void* to, const void* from, std::size_t bytes) override {
    enqueue([this, from] {
      if (hooks_.before_copy) hooks_.before_copy(from);
    });
    EmulatedQueue::copy(to, from, bytes);
  }

 private:
  Hooks& hooks_;
  std::size_t num_published_ = 0;
};

class SpoilingDevice : public test::OddDevice {
 public:
  explicit SpoilingDevice(Device& real) : OddDevice(real, true, true) {}
  std::unique_ptr<Queue> make_queue() override { return std::make_unique<SpoilingQueue>(hooks); }

  Hooks hooks;
};

/// So that the strike comes in the second step.
void prepare(const Strike& strike, std::size_t published_in_step, const DeviceStepMemory& memory,
             Hooks& hooks) {
  if (strike.publication > 0) {
    hooks.before_publication = [&, published_in_step](std::size_t number) {
      if (number == published_in_step + strike.publication) strike.spoil(memory);
    };
  } else {
    hooks.before_copy = [&, num_planned = 0](const void* from) mutable {
      if (from == memory.planned && ++num_planned == 2) strike.spoil(memory);
    };
  }
}

/// Token t chooses the experts t and t + 1.
test::OwnedRouting any_routing() {
  test::OwnedRouting routing{num_tokens, 2, {}, {}};
  for (std::size_t token = 0; token < num_tokens; ++token) {
    for (const std::size_t expert : {token % 6, (token + 1) % 6})
      routing.experts.push_back(expert_at(expert));
    routing.weights.insert(routing.weights.end(), {0.75F, 0.25F});
  }
  return routing;
}

using Outputs = std::vector<std::vector<float>>;  // of each rank, complete step by complete step

void run_rank(Communicator& communicator, VerifyLevel verify, const Strike& strike, std::vector<float>& all) {
  test::Side side(communicator);
  SpoilingDevice device(*side.device);
  EngineOptions options;
  options.verify = verify;
  Engine engine(communicator, loopback_backend(), options);
  const LayerSpec spec = any_spec();
  DeviceLane lane(engine, device, {spec, Dtype::f32, num_tokens, 2, 6});
  DeviceLayer layer(engine, lane, spec, contiguous_placement(6, num_ranks),
                    test::GeneratedWeights(spec, test::weights_seed));
  const std::size_t published_in_step = verify == VerifyLevel::audit ? 4 : 2;
  if (strike.spoil && communicator.rank() == Rank{1})
    prepare(strike, published_in_step, lane.memory(), device.hooks);
  const test::OwnedRouting routing = any_routing();
  std::vector<float> y(num_tokens * spec.expert.hidden);
  for (std::size_t step = 0; step < num_steps; ++step) {
    const std::vector<float> x = test::random_floats(y.size(), 10 * step + index(communicator.rank()));
    layer.forward(std::span<const float>(x), routing, y);
    all.insert(all.end(), y.begin(), y.end());
  }
}

struct Outcome {
  Outputs outputs = Outputs(num_ranks);
  std::string error;
};

Outcome run(VerifyLevel verify, const Strike& strike) {
  Outcome outcome;
  try {
    run_ranks(num_ranks, test::patience, [&](Communicator& communicator) {
      run_rank(communicator, verify, strike, outcome.outputs[index(communicator.rank())]);
    });
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::verification) << error.what();
    outcome.error = error.what();
  }
  return outcome;
}

void flip(std::byte* byte) { *byte ^= std::byte{0x10}; }

std::byte* row_to(const DeviceStepMemory& memory, std::size_t rank, std::size_t row) {
  return memory.row_destinations[rank] + row * 16 * sizeof(float);
}

/// The first of those that this rank computed for another.
std::byte* output_to(const DeviceStepMemory& memory, std::size_t rank) {
  return memory.sources[rank].outputs + memory.sources[rank].plan->first_output * 16 * sizeof(float);
}

/// Of an audited step: 1 checksums of rows, 2 rows, 3 checksums of outputs, 4 outputs.
std::vector<std::pair<std::string, Strike>> strikes() {
  const std::string row = "dispatch from rank 1 to rank 2: the row of token 3 (first for its choice 1)";
  const std::string output = "return from rank 1 to rank 0: the output of token 1, choice 1";
  const std::string plan = "the plan from rank 1 to rank 2";
  return {
      {row, {2, [](const DeviceStepMemory& memory) { flip(row_to(memory, 2, 0)); }}},
      {row,
       {2,
        [](const DeviceStepMemory& memory) {
          std::swap_ranges(row_to(memory, 2, 0), row_to(memory, 2, 1), row_to(memory, 2, 1));
        }}},
      {"the row of token 4", {2, [](const DeviceStepMemory& memory) { flip(row_to(memory, 2, 2) - 1); }}},
      {plan,
       {2,
        [](const DeviceStepMemory& memory) {  // a weight
          flip(memory.plan_destinations[2] + sizeof(ArrivedPlan) + sizeof(PlannedAssignment) - 1);
        }}},
      {plan,
       {2,
        [](const DeviceStepMemory& memory) {  // the number of assignments, far too many
          flip(memory.plan_destinations[2] + offsetof(ArrivedPlan, num_assignments) + 3);
        }}},
      {output, {4, [](const DeviceStepMemory& memory) { flip(output_to(memory, 0)); }}},
      {row, {1, [](const DeviceStepMemory& memory) { flip(memory.checksum_destinations[2]); }}},
  };
}

TEST(DeviceAudit, HasTheBitsOfTheLedger) {
  const Outcome audited = run(VerifyLevel::audit, {}), expected = run(VerifyLevel::ledger, {});
  EXPECT_EQ(audited.error, "");
  EXPECT_EQ(audited.outputs, expected.outputs);
  EXPECT_EQ(expected.outputs[0].size(), num_steps * num_tokens * 16);
}

TEST(DeviceAudit, WhatIsSpoiltIsNamedAndComputedOnByNobody) {
  const Outputs expected = run(VerifyLevel::audit, {}).outputs;
  for (const auto& [words, strike] : strikes()) {
    const Outcome outcome = run(VerifyLevel::audit, strike);
    EXPECT_NE(outcome.error.find(words), std::string::npos) << outcome.error << ", not " << words;
    EXPECT_NE(outcome.error.find("is not what was written there"), std::string::npos) << outcome.error;
    for (std::size_t rank = 0; rank < num_ranks; ++rank) {
      const std::vector<float>& y = outcome.outputs[rank];
      EXPECT_TRUE(std::equal(y.begin(), y.end(), expected[rank].begin())) << "rank " << rank;
      EXPECT_LT(y.size(), expected[rank].size());
    }
  }
}

/// With checksums that are right.
TEST(DeviceAudit, APlanThatNobodyCanFollowIsNamedAndFollowedByNobody) {
  const auto spoil = [](const DeviceStepMemory& memory) {
    memory.planned[memory.first_assignment[2]].slot = 1'000'000;
  };
  const Outcome outcome = run(VerifyLevel::audit, {0, spoil});
  EXPECT_NE(outcome.error.find("the plan from rank 1 to rank 2 cannot be followed: it names slot 1000000, "
                               "and there are 2"),
            std::string::npos)
      << outcome.error;
}

/// So that what the audit finds is known to count.
TEST(DeviceAudit, WithoutItSpoiltRowsEndInWrongOutputs) {
  const Outputs expected = run(VerifyLevel::ledger, {}).outputs;
  const Outcome outcome =
      run(VerifyLevel::ledger, {1, [](const DeviceStepMemory& memory) { flip(row_to(memory, 2, 1) - 1); }});
  EXPECT_EQ(outcome.error, "");
  EXPECT_NE(outcome.outputs, expected);
}

}  // namespace
}  // namespace moewe
