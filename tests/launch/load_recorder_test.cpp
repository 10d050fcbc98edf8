#include "launch/load_recorder.hpp"

#include <chrono>
#include <gtest/gtest.h>
#include <optional>
#include <random>
#include <set>

#include "comm/log.hpp"
#include "comm/loopback/run_ranks.hpp"
#include "launch/load_file.hpp"
#include "launch/run_loads.hpp"
#include "placement/split.hpp"

namespace moewe {
namespace {

constexpr std::size_t num_experts = 12;
constexpr std::size_t num_layers = 4;
constexpr std::chrono::seconds patience{20};
const std::vector<std::size_t> layers{1, 3};

/// What one rank's tokens chose in one layer of one step, and what of it a capacity left.
struct Choices {
  std::vector<std::int64_t> routed = std::vector<std::int64_t>(num_experts, 0);
  std::vector<ExpertId> kept;
};

/// Equal for equal arguments. With a capacity every third assignment is dropped.
Choices choices_of(std::size_t rank, std::size_t layer, std::uint64_t step, bool is_bounded) {
  std::mt19937_64 random(1000 * step + 10 * layer + rank);
  Choices choices;
  for (std::uint64_t i = random() % 40; i > 0; --i) {
    const ExpertId expert = expert_at(random() % num_experts);
    ++choices.routed[index(expert)];
    choices.kept.push_back(is_bounded && i % 3 == 0 ? no_expert : expert);
  }
  return choices;
}

void count(LoadRecorder& recorder, std::size_t i, const Choices& choices, bool is_bounded) {
  const std::vector<float> weights(choices.kept.size(), 1.0F);
  StepOutcome outcome;
  outcome.report.own_per_expert = choices.routed;
  if (is_bounded) outcome.report.overflow.emplace();
  outcome.routings = {Routing{choices.kept.size(), 1, choices.kept, weights, {}}};
  recorder.count(i, outcome);
}

LoadTable no_loads() { return LoadTable(num_layers, std::vector<std::int64_t>(num_experts, 0)); }

/// Steps from `first` on, in the plainest loops: tables of each rank.
std::vector<LoadTable> counted(std::size_t num_ranks, std::uint64_t first, std::uint64_t end,
                               bool is_bounded) {
  std::vector<LoadTable> tables(num_ranks, no_loads());
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    for (std::uint64_t step = first; step < end; ++step) {
      for (const std::size_t layer : layers) {
        for (const ExpertId expert : choices_of(rank, layer, step, is_bounded).kept) {
          if (expert != no_expert) ++tables[rank][layer][index(expert)];
        }
      }
    }
  }
  return tables;
}

/// What rank 0 has recorded after so many steps, going on from `history`.
LoadHistory recorded(std::size_t num_ranks, std::uint64_t num_steps, bool is_bounded,
                     const LoadHistory& history = LoadHistory(num_layers, num_experts)) {
  std::optional<LoadHistory> result;
  run_ranks(num_ranks, patience, [&](Communicator& communicator) {
    LoadRecorder recorder(communicator, history, layers);
    for (std::uint64_t step = 0; step < num_steps; ++step) {
      for (std::size_t i = 0; i < layers.size(); ++i)
        count(recorder, i, choices_of(index(communicator.rank()), layers[i], step, is_bounded), is_bounded);
      recorder.step_done(step);
    }
    recorder.finish(num_steps - 1);
    if (communicator.rank() == Rank{0}) result = recorder.history();
  });
  return result.value();
}

TEST(LoadRecorder, KeepsTheHistoryOfItsWindows) {
  constexpr std::uint64_t num_steps = 2 * LoadRecorder::steps_of_window + 5;
  for (const std::size_t num_ranks : {1U, 2U, 3U}) {
    for (const bool is_bounded : {false, true}) {
      LoadHistory expected(num_layers, num_experts, {.num_sources = num_ranks});
      for (std::uint64_t first = 0; first < num_steps; first += LoadRecorder::steps_of_window) {
        const std::uint64_t end = std::min(num_steps, first + LoadRecorder::steps_of_window);
        expected.add_by_source(counted(num_ranks, first, end, is_bounded));
      }
      const LoadHistory history = recorded(num_ranks, num_steps, is_bounded);
      EXPECT_EQ(history, expected) << num_ranks << " ranks";
      EXPECT_EQ(parse_loads(to_json(history), ""), history);
    }
  }
}

TEST(LoadRecorder, GoesOnFromAHistoryOfAnyRanks) {
  const LoadHistory before = recorded(3, 20, false);
  const LoadHistory same = recorded(3, 16, false, before);
  EXPECT_EQ(same.num_windows_seen(), before.num_windows_seen() + 1);
  EXPECT_EQ(same.windows().front(), before.windows().front());
  const LoadHistory other = recorded(2, 16, false, before);
  EXPECT_EQ(other.options().num_sources, 2U);
  LoadTable sum = before.total();
  const std::vector<LoadTable> since = counted(2, 0, 16, false);
  EXPECT_EQ(other.by_source(), since);
  for (const LoadTable& source : since) {
    for (std::size_t layer = 0; layer < num_layers; ++layer) {
      for (std::size_t e = 0; e < num_experts; ++e) sum[layer][e] += source[layer][e];
    }
  }
  EXPECT_EQ(other.total(), sum);
}

TEST(LoadRecorder, ForgetsWhatCameBeforeItsWindowsWhereSumsWouldBeTooLarge) {
  LoadHistory::State state;
  state.options = {2, 1, 4, 0};
  state.num_windows_seen = 5;
  state.total = state.fast = state.slow = no_loads();
  state.windows = {no_loads(), no_loads()};
  state.total[1][0] = max_total_load;
  state.windows[1][1][0] = 1000;
  const LoadHistory history = recorded(2, 16, false, LoadHistory(state));
  EXPECT_EQ(history.num_windows_seen(), 3U);
  const std::vector<LoadTable> since = counted(2, 0, 16, false);
  EXPECT_EQ(history.total()[1][0], 1000 + since[0][1][0] + since[1][1][0]);
  EXPECT_EQ(history.by_source(), since);
}

TEST(LoadRecorder, CountsNoSourcesWhereThereAreTooMany) {
  constexpr std::size_t num_ranks = LoadRecorder::most_sources + 1;
  const LoadHistory history = recorded(num_ranks, 2, false);
  EXPECT_EQ(history.options().num_sources, 0U);
  LoadTable sum = no_loads();
  for (const LoadTable& source : counted(num_ranks, 0, 2, false)) {
    for (const std::size_t layer : layers) {
      for (std::size_t e = 0; e < num_experts; ++e) sum[layer][e] += source[layer][e];
    }
  }
  EXPECT_EQ(history.total(), sum);
}

/// Alarms of two ranks after four windows in which expert e of layer 1 gets loads(rank, e) in each step; and
/// the lines that were logged.
struct Alarms {
  std::vector<RaisedAlarm> raised;
  std::vector<std::string> lines;
};

template <typename Loads>
Alarms alarms_of(Loads&& loads) {
  Alarms alarms;
  set_log_sink([&](LogLevel, std::string_view line) { alarms.lines.emplace_back(line); });
  run_ranks(2, patience, [&](Communicator& communicator) {
    LoadRecorder recorder(communicator, LoadHistory(num_layers, num_experts), layers);
    for (std::uint64_t step = 0; step < 4 * LoadRecorder::steps_of_window; ++step) {
      for (std::size_t i = 0; i < layers.size(); ++i) {
        Choices choices;
        for (std::size_t e = 0; e < num_experts; ++e)
          choices.routed[e] = layers[i] == 1 ? loads(index(communicator.rank()), e) : 20;
        count(recorder, i, choices, false);
      }
      recorder.step_done(step);
    }
    recorder.finish(63);
    if (communicator.rank() == Rank{0}) alarms.raised = recorder.alarms();
  });
  set_log_sink([](LogLevel, std::string_view line) { std::fputs(std::string(line).c_str(), stderr); });
  return alarms;
}

std::set<LoadAlarmKind> kinds_of(const Alarms& alarms) {
  std::set<LoadAlarmKind> kinds;
  for (const RaisedAlarm& raised : alarms.raised) kinds.insert(raised.alarm.kind);
  return kinds;
}

TEST(LoadRecorder, SaysOnceOfALayerThatItHasCollapsed) {
  const Alarms alarms = alarms_of([](std::size_t, std::size_t e) { return e == 5 ? 100 : 0; });
  EXPECT_EQ(kinds_of(alarms),
            (std::set{LoadAlarmKind::utilisation, LoadAlarmKind::entropy, LoadAlarmKind::cold}));
  EXPECT_EQ(alarms.raised.size(), 3U);
  EXPECT_EQ(alarms.lines.size(), 3U);
  for (const RaisedAlarm& raised : alarms.raised) {
    EXPECT_EQ(raised.layer, 1U);
    const bool is_quick =
        raised.alarm.kind != LoadAlarmKind::cold;  // which takes more counts than a window has
    EXPECT_EQ(raised.step, is_quick ? LoadRecorder::steps_of_window - 1 : 63);
  }
}

TEST(LoadRecorder, NamesTheSourceThatSaturatesAnExpert) {
  const Alarms alarms =
      alarms_of([](std::size_t rank, std::size_t e) { return rank == 1 && e == 7 ? 400 : 20; });
  ASSERT_EQ(kinds_of(alarms).count(LoadAlarmKind::source), 1U);
  for (const RaisedAlarm& raised : alarms.raised) {
    if (raised.alarm.kind != LoadAlarmKind::source) continue;
    EXPECT_EQ(raised.alarm.expert, 7U);
    EXPECT_EQ(raised.alarm.source, 1U);
  }
}

TEST(LoadRecorder, SaysNothingOfEvenLoads) {
  const Alarms alarms = alarms_of([](std::size_t, std::size_t) { return 20; });
  EXPECT_TRUE(alarms.raised.empty());
  EXPECT_TRUE(alarms.lines.empty());
}

LoadHistory history_of(const LoadTable& loads) {
  LoadHistory history(loads.size(), loads.front().size());
  history.add(loads);
  return history;
}

TEST(RunLoads, ArePlacedOnAsManySlotsInEveryLayer) {
  std::mt19937_64 random(1);
  for (int time = 0; time < 200; ++time) {
    const std::size_t experts = 1 + random() % 20;
    const std::size_t num_ranks = 1 + random() % 6;
    const std::size_t num_spares = random() % 4;
    LoadTable loads(3, std::vector<std::int64_t>(experts, 0));
    for (std::size_t layer = 1; layer < 3; ++layer) {
      for (std::int64_t& load : loads[layer])
        load = static_cast<std::int64_t>(random() % 3 == 0 ? 0 : random() % 1000);
    }
    loads[2][0] += 1;
    loads[1][0] += 1;
    const PlacementMap map =
        plan_for(history_of(loads), Topology(std::vector<std::uint64_t>(num_ranks, 0)), num_spares);
    EXPECT_EQ(map.size(), 2U) << "the first layer has no loads";
    const Placement contiguous = contiguous_placement(experts, num_ranks);
    for (const auto& [layer, placement] : map) {
      for (std::size_t rank = 0; rank < num_ranks; ++rank) {
        EXPECT_EQ(placement.experts_of(rank_at(rank)).size(),
                  std::min(experts, contiguous.experts_of(rank_at(rank)).size() + num_spares));
      }
    }
  }
}

TEST(RunLoads, HaveADigestThatTellsThemApart) {
  const LoadHistory one = history_of({{1, 2, 3}});
  EXPECT_EQ(digest(one), digest(history_of({{1, 2, 3}})));
  EXPECT_NE(digest(one), digest(history_of({{1, 3, 2}})));
}

}  // namespace
}  // namespace moewe
