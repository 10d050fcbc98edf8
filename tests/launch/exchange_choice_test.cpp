#include "launch/exchange_choice.hpp"

#include <gtest/gtest.h>

#include "launch/bench_choice.hpp"

namespace moewe {
namespace {

const Topology two_by_two({0, 0, 1, 1});
const ExpectedTraffic traffic{32, 8, 8192, Combine::reproducible, 128};

Backend named(const std::string& carrier) {
  Backend backend;
  backend.carrier = carrier;
  return backend;
}

/// Two carriers with these seconds per byte between nodes and in them.
Calibration calibration(const ExchangeRequest& request, LinkCost mpi, LinkCost ucx) {
  return {request,
          {named("mpi"), named("ucx")},
          LinkCosts{{{"mpi", mpi, LinkCost{1e-6, 1e-10}}, {"ucx", ucx, LinkCost{1e-6, 1e-10}}},
                    LinkCost{1e-7, 1e-10}},
          ""};
}

std::string chosen(const Calibration& given, const ExpectedTraffic& of = traffic) {
  return choose_exchange(two_by_two, given, of).backend.carrier;
}

TEST(ChooseExchange, TakesTheCarrierThatIsClearlyQuicker) {
  EXPECT_EQ(chosen(calibration({}, {0, 2e-8}, {0, 1e-8})), "ucx");
  EXPECT_EQ(chosen(calibration({}, {0, 1e-8}, {0, 2e-8})), "mpi");
  EXPECT_EQ(chosen(calibration({}, {0, 1e-8}, {0, 1e-8})), "mpi");
  EXPECT_EQ(chosen(calibration({}, {0, 1.01e-8}, {0, 1e-8})), "mpi");  // no more than noise
}

TEST(ChooseExchange, MindsLatencyTheMoreTheFewerTokensThereAre) {
  const Calibration given = calibration({}, {1e-3, 1e-8}, {1e-5, 2e-8});
  ExpectedTraffic few = traffic, many = traffic;
  few.tokens_per_rank = 1;
  many.tokens_per_rank = 100000;
  EXPECT_EQ(chosen(given, few), "ucx");
  EXPECT_EQ(chosen(given, many), "mpi");
}

TEST(ChooseExchange, TellsTheFiguresOfBothCarriers) {
  const auto choice = choose_exchange(two_by_two, calibration({}, {3e-5, 1e-8}, {4e-5, 2e-8}), traffic);
  EXPECT_EQ(choice.backend.carrier_reason, "mpi 100 MB/s and 30 us, ucx 50 MB/s and 40 us");
}

TEST(ChooseExchange, ComparesTheWayThatMessagesGo) {
  Calibration inside = calibration({PathRequest::message, {}, {}}, {0, 1e-8}, {0, 1e-8});
  inside.costs->carriers[0].inside_nodes->s_per_byte = 1e-7;
  EXPECT_EQ(chosen(inside), "ucx");
  inside.request.path = PathRequest::automatic;  // inside nodes rows go directly
  EXPECT_EQ(chosen(inside), "mpi");
}

TEST(ChooseExchange, HasNoBasisWhereNothingWasMeasured) {
  const Calibration given{{}, {named("mpi")}, std::nullopt, "nothing to measure"};
  const auto choice = choose_exchange(two_by_two, given, traffic);
  EXPECT_FALSE(choice.basis);
  EXPECT_EQ(choice.backend.carrier_reason, "nothing to measure");
}

TEST(ChooseExchange, SaysThatWhatWasAskedForWas) {
  Calibration given = calibration({{}, CarrierRequest::ucx, {}}, {0, 1e-8}, {0, 1e-8});
  given.carriers.erase(given.carriers.begin());
  given.costs->carriers.erase(given.costs->carriers.begin());
  const auto choice = choose_exchange(two_by_two, given, traffic);
  EXPECT_EQ(choice.backend.carrier, "ucx");
  EXPECT_EQ(choice.backend.carrier_reason, "asked for");
  EXPECT_TRUE(choice.basis);  // paths are still to be chosen
}

TEST(ChooseForBench, NamesTheContestantThatDoesTheSame) {
  const auto contestant = [](const Topology& topology, const Calibration& given) {
    return choose_for_bench(topology, given, traffic).contestant();
  };
  const Calibration slow = calibration({}, {0, 1e-8}, {0, 1e-8}),
                    fast = calibration({}, {0, 1e-13}, {0, 1e-13});
  EXPECT_EQ(contestant(two_by_two, slow), "two-level");
  EXPECT_EQ(contestant(two_by_two, calibration({}, {0, 2e-8}, {0, 1e-8})), "two-level-ucx");
  EXPECT_EQ(contestant(two_by_two, fast), "message-mpi");
  EXPECT_EQ(contestant(Topology({0, 1}), slow), "message-mpi");
  EXPECT_EQ(contestant(Topology({0, 0}), slow), "direct");
  EXPECT_EQ(contestant(Topology({0}), slow), "direct");
  EXPECT_EQ(contestant(Topology({0, 0, 0, 1, 1, 1, 2}), slow), "");  // not alike between all nodes
}

}  // namespace
}  // namespace moewe
