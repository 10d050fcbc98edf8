#include "runtime/ledger.hpp"

#include <gtest/gtest.h>
#include <string>

#include "comm/error.hpp"

namespace moewe {
namespace {

std::string refusal(const Ledger& ledger, std::size_t num_assigned, std::size_t num_combined) {
  try {
    ledger.close(num_assigned, num_combined);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::verification);
    return error.what();
  }
  return "";
}

TEST(Ledger, BalancesOnlyWhenEverySlotDidWhatWasPromised) {
  Ledger ledger;
  ledger.open({3, 0, 2});
  ledger.count_computed(0, 3);
  EXPECT_EQ(refusal(ledger, 4, 4), "ledger: slot 2 was promised 2 assignments and computed 0");
  ledger.count_computed(2, 1);
  ledger.count_computed(2, 1);
  EXPECT_EQ(refusal(ledger, 4, 4), "");
  EXPECT_EQ(refusal(ledger, 4, 3), "ledger: 4 assignments were sent out and 3 outputs came back");
  ledger.count_computed(1, 1);
  EXPECT_EQ(refusal(ledger, 4, 4), "ledger: slot 1 was promised 0 assignments and computed 1");
}

TEST(Ledger, BeginsEveryStepAnew) {
  Ledger ledger;
  ledger.open({1});
  ledger.count_computed(0, 1);
  ledger.open({1});
  EXPECT_EQ(refusal(ledger, 0, 0), "ledger: slot 0 was promised 1 assignments and computed 0");
}

}  // namespace
}  // namespace moewe
