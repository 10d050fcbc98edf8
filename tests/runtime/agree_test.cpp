#include "runtime/agree.hpp"

#include <array>
#include <cstdlib>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <random>

#include "comm/loopback/run_ranks.hpp"
#include "tests/support/layer_runs.hpp"

namespace moewe {
namespace {

/// As many as $MOEWE_FAULTS says.
std::size_t times() {
  const char* const times = std::getenv("MOEWE_FAULTS");
  return times == nullptr ? 200 : std::stoul(times);
}

/// What a step of a layer is agreed on by.
StepHeader header_of_a_step() {
  StepHeader header;
  header.add("step", 5);
  header.add(LayerSpec{{16, 24}, 8, {2, true}});
  header.add(LayerOptions{});
  header.add("placement epoch", 3);
  header.add("placement (its digest)", 0x5ca1ab1e);
  return header;
}

StepHeader with_other_value(const StepHeader& header, std::size_t field, std::int64_t difference) {
  StepHeader other;
  for (std::size_t i = 0; i < header.fields().size(); ++i)
    other.add(header.fields()[i].name, header.fields()[i].value + (i == field ? difference : 0));
  return other;
}

/// All in one world: a disagreement leaves the ranks in step.
TEST(Agree, WhateverOneRankPassesOtherwiseIsNamedOnAllWithItsValueAndTheOthers) {
  constexpr std::array others{"1 2 3", "0 2 3", "0 1 3", "0 1 2"};
  const StepHeader header = header_of_a_step();
  run_ranks(others.size(), test::patience, [&](Communicator& communicator) {
    std::mt19937 random(7);  // the same on every rank
    for (std::size_t i = 0; i < times(); ++i) {
      const Rank other = rank_at(random() % others.size());
      const std::size_t field = random() % header.fields().size();
      const auto difference = static_cast<std::int64_t>(1 + random() % 1000);
      StepProposal proposal;
      proposal.header = communicator.rank() == other ? with_other_value(header, field, difference) : header;
      const auto& [name, value] = header.fields()[field];
      const std::string its = fmt::format("{} on rank {}", value + difference, number(other));
      const std::string theirs = fmt::format("{} on rank {}", value, others[index(other)]);
      const bool is_first = other == Rank{0};
      test::expect_shared_error(ErrorKind::disagreement,
                                fmt::format("ranks disagree about the {}: {}, {}", name,
                                            is_first ? its : theirs, is_first ? theirs : its),
                                [&] { agree(communicator, std::move(proposal)); });
    }
  });
}

}  // namespace
}  // namespace moewe
