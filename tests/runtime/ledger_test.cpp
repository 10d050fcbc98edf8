#include "runtime/ledger.hpp"

#include <array>
#include <gtest/gtest.h>
#include <string>

#include "comm/error.hpp"

namespace moewe {
namespace {

/// A ledger with these counts, closed with these numbers: what it says.
std::string refusal(const std::vector<std::int64_t>& promised, const std::vector<std::size_t>& computed,
                    std::size_t num_assigned, std::size_t num_returned,
                    VerifyLevel level = VerifyLevel::ledger) {
  Ledger ledger;
  ledger.open(level, promised);
  for (std::size_t slot = 0; slot < computed.size(); ++slot) {
    for (std::size_t i = 0; i < computed[slot]; ++i) ledger.count_computed(slot, 1);
  }
  try {
    ledger.count_returned(num_assigned, num_returned);
    ledger.close(num_assigned);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::verification);
    return error.what();
  }
  return "";
}

TEST(Ledger, BalancesOnlyWhenEverySlotDidWhatWasPromised) {
  EXPECT_EQ(refusal({3, 0, 2}, {3, 0, 2}, 4, 4), "");
  EXPECT_EQ(refusal({3, 0, 2}, {3, 0, 0}, 4, 4), "ledger: slot 2 was promised 2 assignments and computed 0");
  EXPECT_EQ(refusal({3, 0, 2}, {3, 1, 2}, 4, 4), "ledger: slot 1 was promised 0 assignments and computed 1");
  EXPECT_EQ(refusal({3, 0, 2}, {3, 0, 2}, 4, 3),
            "ledger: of 4 assignments 4 were sent out and 3 outputs came back");
  EXPECT_EQ(refusal({3, 0, 2}, {3, 0, 0}, 4, 3, VerifyLevel::off), "");
}

TEST(Ledger, BeginsEveryStepAnewAndOnlyAfterTheLastWasClosed) {
  constexpr std::array<std::int64_t, 1> one{1};
  Ledger ledger;
  ledger.open(VerifyLevel::ledger, one);
  ledger.count_computed(0, 1);
  EXPECT_THROW(ledger.open(VerifyLevel::ledger, one), Error);
  ledger.close(0);
  ledger.open(VerifyLevel::ledger, one);
  EXPECT_EQ(ledger.computed_per_slot()[0], 0);
  EXPECT_THROW(ledger.close(0), Error);
}

}  // namespace
}  // namespace moewe
