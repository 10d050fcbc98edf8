#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>

#include "launch/timeline_json.hpp"

namespace moewe {
namespace {

using nlohmann::json;

LayerStepRecord any_record(std::uint64_t step, std::size_t layer) {
  LayerStepRecord record;
  record.begun = static_cast<std::int64_t>(1'000'000'007 + 5'000'000 * step + 2'000'000 * layer);
  record.length = 1'234'567;
  record.phases = {1, 200'000, 0, 34'566, 900'000, 100'000};
  record.step = step;
  record.layer = layer;
  record.epoch = step / 2;
  record.rows = static_cast<std::int64_t>(10 * step + layer);
  record.imbalance = 1.25;
  return record;
}

TEST(LatestRecords, AreTheLatestInOrder) {
  for (const std::size_t num_added : {0U, 1U, 4U, 5U, 13U}) {
    MemoryMeter meter;
    LatestRecords records(meter, 5);
    EXPECT_EQ(meter.peak_bytes(), LatestRecords::bytes_for(5));
    for (std::size_t i = 0; i < num_added; ++i) records.add(any_record(i, 1));
    ASSERT_EQ(records.size(), std::min<std::size_t>(num_added, 5));
    EXPECT_EQ(records.num_left_out(), num_added - records.size());
    for (std::size_t i = 0; i < records.size(); ++i)
      EXPECT_EQ(records[i], any_record(records.num_left_out() + i, 1));
  }
}

TEST(RecordOf, HasWhatTheStepReported) {
  StepOutcome outcome;
  outcome.begun = std::chrono::steady_clock::time_point(std::chrono::nanoseconds(77));
  outcome.seconds = 2e-3;
  outcome.report.seconds = {1e-3, 0, 0, 0, 5e-4, 2.5e-4};
  outcome.report.epoch = 3;
  outcome.report.computed_per_slot = {4, 0, 9};
  outcome.report.assignments_per_rank = {30, 10};
  const LayerStepRecord record = record_of(6, 2, outcome);
  EXPECT_EQ(record.begun, 77);
  EXPECT_EQ(record.length, 2'000'000);
  EXPECT_EQ(record.phases, (std::array<std::int64_t, num_phases>{1'000'000, 0, 0, 0, 500'000, 250'000}));
  EXPECT_EQ(record.step, 6U);
  EXPECT_EQ(record.layer, 2U);
  EXPECT_EQ(record.epoch, 3U);
  EXPECT_EQ(record.rows, 13);
  EXPECT_EQ(record.imbalance, 1.5);
}

MigrationReport report_of(MigrationState state, std::uint64_t epoch, std::size_t switched,
                          std::size_t cancelled) {
  MigrationReport report;
  report.state = state;
  report.to_epoch = epoch;
  report.num_moves = 2 * epoch;
  report.num_bytes = 100 * epoch;
  report.num_switched = switched;
  report.num_cancelled = cancelled;
  return report;
}

TEST(EpochMarks, TellEachBeginningAndEndOnce) {
  EpochMarks marks(2, 100);
  std::int64_t now = 0;
  const auto look = [&](std::size_t layer, MigrationState state, std::uint64_t epoch, std::size_t switched,
                        std::size_t cancelled) {
    for (int again = 0; again < 2; ++again) {
      marks.look_at(layer, report_of(state, epoch, switched, cancelled),
                    std::chrono::steady_clock::time_point(std::chrono::nanoseconds(now)));
      ++now;
    }
  };
  look(0, MigrationState::idle, 0, 0, 0);
  look(1, MigrationState::copying, 1, 0, 0);
  look(1, MigrationState::ready, 1, 0, 0);
  look(1, MigrationState::agreed, 1, 0, 0);
  look(1, MigrationState::switched, 1, 1, 0);
  look(0, MigrationState::copying, 7, 0, 0);
  look(0, MigrationState::cancelled, 7, 0, 1);
  look(0, MigrationState::copying, 7, 0, 1);  // the same epoch again
  look(0, MigrationState::switched, 7, 1, 1);
  const std::vector<EpochMark> expected{
      {2, EpochEvent::begun, 1, 1, 2, 100},   {8, EpochEvent::switched, 1, 1, 2, 100},
      {10, EpochEvent::begun, 0, 7, 14, 700}, {12, EpochEvent::cancelled, 0, 7, 14, 700},
      {14, EpochEvent::begun, 0, 7, 14, 700}, {16, EpochEvent::switched, 0, 7, 14, 700}};
  EXPECT_EQ(std::vector(marks.marks().begin(), marks.marks().end()), expected);
  EXPECT_EQ(marks.num_left_out(), 0U);
}

TEST(EpochMarks, CountWhatThereIsNoRoomFor) {
  EpochMarks marks(1, 1);
  marks.look_at(0, report_of(MigrationState::copying, 1, 0, 0), {});
  marks.look_at(0, report_of(MigrationState::switched, 1, 1, 0), {});
  EXPECT_EQ(marks.marks().size(), 1U);
  EXPECT_EQ(marks.num_left_out(), 1U);
}

/// Three ranks on two nodes, of which the second's clock is behind.
TimelineSubject any_subject() {
  constexpr std::chrono::milliseconds behind{500};
  return {.topology = Topology({0, 1, 0}),
          .hosts = {"alpha", "be\"ta\xff"},
          .offsets = {{}, {behind, std::chrono::microseconds(30)}},
          .origin = 1'000'000'000,
          .layers = {3, 8},
          .steps_left_out = 12,
          .marks_left_out = 1};
}

json timeline_of(const TimelineSubject& subject, std::span<const LayerStepRecord> records,
                 std::span<const EpochMark> marks) {
  const TimelineText text(subject);
  std::string all = text.head();
  for (std::size_t rank = 0; rank < subject.topology.num_ranks(); ++rank)
    all += text.steps(rank_at(rank), records);
  return json::parse(all + text.epochs(marks) + text.tail());
}

std::vector<json> events_in(const json& timeline, const std::string& category) {
  std::vector<json> found;
  for (const json& event : timeline["traceEvents"])
    if (event.value("cat", "") == category) found.push_back(event);
  return found;
}

TEST(TimelineText, IsJsonEvenOfNothing) {
  const json timeline = timeline_of(any_subject(), {}, {});
  EXPECT_EQ(timeline["traceEvents"].size(), 2U + 3U);
  const json& other = timeline["otherData"];
  EXPECT_EQ(other["layer_steps_left_out"], 12);
  EXPECT_EQ(other["epoch_marks_left_out"], 1);
  EXPECT_EQ(other["clocks"][1]["offset_ns"], 500'000'000);
  EXPECT_EQ(other["clocks"][1]["error_ns"], 30'000);
}

TEST(TimelineText, NamesNodesAndRanks) {
  const json timeline = timeline_of(any_subject(), {}, {});
  std::map<std::string, std::pair<int, int>> named;
  for (const json& event : timeline["traceEvents"])
    named[event["args"]["name"]] = {event["pid"], event["tid"]};
  EXPECT_EQ(named.at("node 0 (alpha)").first, 1);
  EXPECT_EQ(named.at("node 1 (be\"ta\xef\xbf\xbd)").first, 2);
  EXPECT_EQ(named.at("rank 1"), (std::pair{2, 2}));
  EXPECT_EQ(named.at("rank 2"), (std::pair{1, 3}));
}

TEST(TimelineText, HasAnEventOfEachRankStepLayerAndPhase) {
  const std::vector<LayerStepRecord> records{any_record(0, 0), any_record(0, 1), any_record(1, 0)};
  const json timeline = timeline_of(any_subject(), records, {});
  EXPECT_EQ(events_in(timeline, "step").size(), 3 * records.size());
  EXPECT_EQ(events_in(timeline, "phase").size(), 3 * records.size() * num_phases);
  EXPECT_EQ(events_in(timeline, "load").size(), 4 * records.size());  // rows of three ranks, one imbalance
  const json first = events_in(timeline, "step")[1];
  EXPECT_EQ(first["name"], "layer 8");
  EXPECT_EQ(first["args"], (json{{"step", 1}, {"layer", 8}, {"epoch", 0}, {"rows", 1}}));
}

TEST(TimelineText, PutsRanksOnOneClock) {
  const std::vector<LayerStepRecord> records{any_record(0, 0)};
  const auto steps = events_in(timeline_of(any_subject(), records, {}), "step");
  EXPECT_DOUBLE_EQ(steps[0]["ts"], 0.007);
  EXPECT_DOUBLE_EQ(steps[1]["ts"], 500'000.007);
  EXPECT_DOUBLE_EQ(steps[2]["ts"], 0.007);
  EXPECT_DOUBLE_EQ(steps[0]["dur"], 1234.567);
  TimelineSubject later = any_subject();
  later.origin += 2'000'000;
  EXPECT_DOUBLE_EQ(events_in(timeline_of(later, records, {}), "step")[0]["ts"], -1999.993);
}

TEST(TimelineText, PutsPhasesOneBehindAnotherIntoTheirStep) {
  LayerStepRecord rounded = any_record(0, 0);
  rounded.phases[5] += 3;  // as sums of rounded times may be
  const std::vector<LayerStepRecord> records{rounded};
  const json timeline = timeline_of(any_subject(), records, {});
  const json step = events_in(timeline, "step")[0];
  double at = step["ts"];
  const auto phases = events_in(timeline, "phase");
  for (std::size_t p = 0; p < num_phases; ++p) {
    EXPECT_EQ(phases[p]["name"], phase_names[p]);
    EXPECT_NEAR(phases[p]["ts"], at, 1e-4);
    at += phases[p]["dur"].get<double>();
  }
  EXPECT_NEAR(at, step["ts"].get<double>() + step["dur"].get<double>(), 1e-4);
}

TEST(TimelineText, MarksEpochs) {
  const std::vector<EpochMark> marks{{1'000'500'000, EpochEvent::begun, 1, 4, 2, 100},
                                     {1'000'600'000, EpochEvent::switched, 1, 4, 2, 100},
                                     {1'000'700'000, EpochEvent::cancelled, 0, 5, 1, 50}};
  const auto events = events_in(timeline_of(any_subject(), {}, marks), "epoch");
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0]["name"], "epoch begun");
  EXPECT_EQ(events[1]["name"], "epoch switched");
  EXPECT_EQ(events[2]["name"], "epoch cancelled");
  EXPECT_EQ(events[0]["ph"], "i");
  EXPECT_DOUBLE_EQ(events[0]["ts"], 500);
  EXPECT_EQ(events[0]["args"], (json{{"layer", 8}, {"epoch", 4}, {"moves", 2}, {"bytes", 100}}));
}

}  // namespace
}  // namespace moewe
