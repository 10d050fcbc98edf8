#include <cstdlib>
#include <gtest/gtest.h>
#include <random>

#include "comm/error.hpp"
#include "tests/support/audited_layer.hpp"

namespace moewe {
namespace {

using test::Fault;
using test::FaultInjector;
using test::Outcome;
using test::Way;

Outcome run_without_faults(const Way& way) {
  FaultInjector none(test::num_ranks, Fault::delay, std::nullopt, 0);
  return test::run(way, none);
}

TEST(Audit, HasTheBitsOfTheLedgerAndTakesWhatWasPlanned) {
  for (Way way : test::ways()) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      way.dtype = dtype;
      Way plain = way;
      plain.options.verify = VerifyLevel::ledger;
      const Outcome audited = run_without_faults(way), expected = run_without_faults(plain);
      EXPECT_TRUE(audited.failures.empty());
      EXPECT_EQ(audited.outputs, expected.outputs) << way.name << ", " << name_of(dtype);
    }
  }
}

/// So that what the audit catches is known to count.
TEST(Audit, WithoutItFlippedBitsDoEndInWrongOutputs) {
  constexpr std::size_t num_flips = 50;
  for (Way way : test::ways()) {
    way.options.verify = VerifyLevel::ledger;
    FaultInjector none(test::num_ranks, Fault::flip, std::nullopt, 0);
    const Outcome expected = test::run(way, none);
    const auto places = places_for(Fault::flip, none.events());
    std::size_t num_wrong = 0;
    for (std::size_t i = 0; i < num_flips; ++i) {
      FaultInjector injector(test::num_ranks, Fault::flip, places[i * 7 % places.size()], i);
      const Outcome outcome = test::run(way, injector);
      const bool is_noticed = !outcome.failures.empty();  // as some are all the same
      num_wrong += is_noticed || test::begins(outcome.outputs, expected.outputs) ? 0U : 1U;
    }
    EXPECT_GT(num_wrong, num_flips / 4) << way.name;
  }
}

}  // namespace
}  // namespace moewe
