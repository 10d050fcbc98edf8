#include "launch/run_totals.hpp"

#include <gtest/gtest.h>
#include <random>

#include "comm/error.hpp"
#include "comm/loopback/run_ranks.hpp"

namespace moewe {
namespace {

constexpr TotalsShape shape{3, 5, true};

RunTotals any_totals() {
  RunTotals totals;
  totals.num_steps = 17;
  totals.last_step_digest = 0x1234567890ABCDEF;
  totals.sums.assigned = 1000;
  totals.sums.computed = 900;
  totals.sums.reference.compared_ids = 7;
  totals.sums.reference.add_tie({1, 2, 3, 4, 0.5});
  totals.agreed.most_rounds = 4;
  totals.digest = OutputDigest().state();
  totals.agreed.first_imbalance = {1.5, 2.5, 3.5};
  totals.agreed.overflow.resize(shape.num_layers);
  for (std::size_t i = 0; i < shape.num_layers; ++i) {
    totals.agreed.overflow[i].capacity = 10 + i;
    totals.agreed.overflow[i].assigned = {1, 2, 3, 4, static_cast<std::int64_t>(i)};
    totals.agreed.overflow[i].rerouted_to = {5, 4, 3, 2, 1};
  }
  return totals;
}

TEST(RunTotals, AreTheSameAfterTheyWereBytes) {
  const RunTotals before = any_totals();
  const std::vector<std::byte> bytes = to_bytes(before, shape);
  EXPECT_EQ(bytes.size(), shape.num_bytes());
  const RunTotals after = totals_from(bytes, shape);
  EXPECT_EQ(after.num_steps, before.num_steps);
  EXPECT_EQ(after.last_step_digest, before.last_step_digest);
  EXPECT_EQ(after.sums.assigned, before.sums.assigned);
  EXPECT_EQ(after.sums.computed, before.sums.computed);
  EXPECT_EQ(after.sums.reference.compared_ids, 7);
  ASSERT_EQ(after.sums.reference.ties().size(), 1U);
  EXPECT_EQ(after.sums.reference.ties()[0].recorded, 4);
  EXPECT_EQ(after.agreed.most_rounds, before.agreed.most_rounds);
  EXPECT_EQ(after.digest, before.digest);
  EXPECT_EQ(after.agreed.first_imbalance, before.agreed.first_imbalance);
  ASSERT_EQ(after.agreed.overflow.size(), shape.num_layers);
  for (std::size_t i = 0; i < shape.num_layers; ++i) {
    EXPECT_EQ(after.agreed.overflow[i].capacity, before.agreed.overflow[i].capacity);
    EXPECT_EQ(after.agreed.overflow[i].assigned, before.agreed.overflow[i].assigned);
    EXPECT_EQ(after.agreed.overflow[i].rerouted_to, before.agreed.overflow[i].rerouted_to);
    EXPECT_EQ(after.agreed.overflow[i].kept, std::vector<std::int64_t>(shape.num_experts, 0));
  }
}

TEST(RunTotals, OfOtherLengthsAreRefused) {
  std::vector<std::byte> bytes = to_bytes(any_totals(), shape);
  bytes.pop_back();
  EXPECT_THROW(totals_from(bytes, shape), Error);
}

std::vector<float> any_rows(std::size_t count) {
  static std::mt19937 generator(1);
  std::vector<float> rows(count);
  for (float& value : rows) value = static_cast<float>(generator()) / 1e9F;
  return rows;
}

/// However many rows were added before: a whole block of SHA-256 has four.
TEST(OutputDigest, GoesOnFromWhereAnotherWas) {
  constexpr std::size_t hidden = 8;
  run_ranks(1, std::chrono::seconds(60), [&](Communicator& communicator) {
    for (std::size_t num_rows = 0; num_rows < 10; ++num_rows) {
      const std::vector<float> first = any_rows(num_rows * hidden), second = any_rows(3 * hidden);
      OutputDigest whole, begun, resumed, part;
      whole.add(communicator, first, hidden);
      whole.take_part();
      whole.add(communicator, second, hidden);
      begun.add(communicator, first, hidden);
      resumed.restore(begun.state());
      resumed.add(communicator, second, hidden);
      part.add(communicator, second, hidden);
      EXPECT_EQ(whole.take_part(), part.take_part());
      const std::string expected = whole.finish();
      EXPECT_EQ(resumed.finish(), expected);
      EXPECT_NE(begun.finish(), expected);
      EXPECT_NE(part.finish(), num_rows == 0 ? "" : expected);
    }
  });
}

TEST(OutputDigest, RefusesWhatIsNoState) {
  OutputDigest::State state{};
  state.fill(std::byte{0xFF});
  EXPECT_THROW(OutputDigest().restore(state), InvalidInput);
}

}  // namespace
}  // namespace moewe
