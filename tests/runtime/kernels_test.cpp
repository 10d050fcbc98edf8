// The kernels' twins, run through an emulated queue, against the code that runs without a device.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>

#include "runtime/dispatch_plan.hpp"
#include "runtime/kernels/elementwise.hpp"
#include "runtime/kernels/weighted_sum.hpp"
#include "runtime/round_audit.hpp"
#include "runtime/router.hpp"
#include "tests/gpu/activate_run.hpp"
#include "tests/gpu/arrange_run.hpp"
#include "tests/gpu/arrival_run.hpp"
#include "tests/gpu/checksum_run.hpp"
#include "tests/gpu/combine_run.hpp"
#include "tests/gpu/guard_run.hpp"
#include "tests/gpu/multiply_run.hpp"
#include "tests/gpu/plan_run.hpp"
#include "tests/gpu/route_run.hpp"
#include "tests/gpu/sources_run.hpp"
#include "tests/gpu/sums_run.hpp"

namespace moewe {
namespace {

std::unique_ptr<Device> emulated() { return choose_device(DeviceChoice::cpu, 0).device; }

std::vector<float> combined_without_a_device(const test::CombineCase& c) {
  const auto& [num_tokens, top_k, hidden, dtype, add_to_y, is_weighted, shift] = c.shape;
  const std::byte* const rows = dtype == Dtype::f32 ? reinterpret_cast<const std::byte*>(c.f32.data())
                                                    : reinterpret_cast<const std::byte*>(c.bf16.data());
  std::vector<float> y = c.y;
  for (std::size_t token = 0; token < num_tokens; ++token) {
    std::vector<WeightedRow> returned;
    for (std::size_t i = token * top_k; i < (token + 1) * top_k; ++i) {
      if (c.has_returned[i]) returned.push_back({rows + i * c.row_bytes(), is_weighted ? c.weights[i] : 1});
    }
    std::vector<float> sum(hidden);
    sum_weighted(returned, 0, dtype, sum);
    if (add_to_y) add_weighted(1.0F, y.data() + token * hidden, sum);
    std::copy(sum.begin(), sum.end(), y.begin() + static_cast<std::ptrdiff_t>(token * hidden));
  }
  return y;
}

TEST(Kernels, CombineTokensHasTheBitsOfCombine) {
  const auto device = emulated();
  for (const test::CombineCase& c : test::combine_cases())
    EXPECT_EQ(test::run(c, *device), combined_without_a_device(c)) << "hidden " << c.shape.hidden;
}

TEST(Kernels, AGuardNamesTheFirstBoundThatIsBrokenAndWritesNothingThen) {
  const auto device = emulated();
  const std::vector<std::pair<StepBound, std::uint32_t>> expected{
      {StepBound::none, 0},     {StepBound::none, 0},       {StepBound::none, 0},
      {StepBound::tokens, 17},  {StepBound::none, 0},       {StepBound::choices, 5},
      {StepBound::choices, 5},  {StepBound::choices, 7},    {StepBound::arrivals, 41},
      {StepBound::ledger, 2},   {StepBound::ledger, 1},     {StepBound::sequence, 6},
      {StepBound::sequence, 7}, {StepBound::arrivals, 1000}};
  const std::vector<test::GuardCase> cases = test::guard_cases();
  ASSERT_EQ(cases.size(), expected.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(i);
    const test::GuardResult result = test::run(cases[i], *device);
    const StepRecord& record = result.records[7 % 4];
    EXPECT_EQ(record.step, 7U);
    EXPECT_EQ(record.broken, expected[i].first);
    EXPECT_EQ(record.value, expected[i].second);
    const bool is_written = expected[i].first == StepBound::none;
    EXPECT_EQ(result.state.num_written, is_written ? cases[i].num_tokens : 0);
    if (is_written) continue;
    const std::uint32_t elsewhere = cases[i].other_bucket == 16 ? cases[i].rank_elsewhere : 0;
    EXPECT_EQ(record.rank, record.broken == StepBound::sequence ? elsewhere : cases[i].num_ranks / 2);
    EXPECT_EQ(record.other, (GraphName{3, record.broken == StepBound::sequence ? cases[i].other_bucket
                                                                               : cases[i].most_tokens}));
  }
}

Placement placement_of(const test::PlanCase& c) {
  std::vector<std::vector<ExpertId>> experts_of_rank(c.shape.num_ranks);
  for (std::size_t e = 0; e < c.shape.num_experts; ++e) {
    for (std::size_t s = c.first_slot[e]; s < c.first_slot[e + 1]; ++s)
      experts_of_rank[c.slot_rank[s]].push_back(expert_at(e));
  }
  return Placement(0, c.shape.num_experts, experts_of_rank);
}

void expect_same(const PlannedAssignment& a, const PlannedAssignment& b) {
  EXPECT_EQ(a.row, b.row);
  EXPECT_EQ(a.slot, b.slot);
  EXPECT_EQ(a.token, b.token);
  EXPECT_EQ(a.k, b.k);
  EXPECT_EQ(a.weight, b.weight);
}

/// What the kernels wrote for one rank; `pushed` is where its rows arrived.
void expect_destination(const test::PlanCase& c, const test::PlanResult& result, std::size_t rank,
                        const Destination& expected) {
  const std::size_t first = result.first_row[rank];
  ASSERT_EQ(result.first_row[rank + 1] - first, expected.tokens.size());
  const std::byte* pushed = result.pushed.data() + first * c.shape.row_bytes + rank;
  for (std::size_t i = 0; i < expected.tokens.size(); ++i, pushed += c.shape.row_bytes) {
    EXPECT_EQ(result.tokens[first + i], expected.tokens[i]);
    const std::byte* const row = c.rows.data() + expected.tokens[i] * c.shape.row_bytes;
    EXPECT_EQ(std::memcmp(pushed, row, c.shape.row_bytes), 0);
  }
  ASSERT_EQ(result.first_assignment[rank + 1] - result.first_assignment[rank], expected.assignments.size());
  for (std::size_t i = 0; i < expected.assignments.size(); ++i)
    expect_same(result.planned[result.first_assignment[rank] + i], expected.assignments[i]);
}

TEST(Kernels, PlanAndPushDoWhatTheDispatchPlanSays) {
  const auto device = emulated();
  for (const test::PlanCase& c : test::plan_cases()) {
    const test::PlanResult result = test::run(c, *device);
    const Placement placement = placement_of(c);
    SlotChoice choice = c.quotas.empty() ? SlotChoice() : SlotChoice(c.quotas);
    MemoryMeter meter;
    DispatchPlan plan(meter);
    plan.build({c.shape.num_tokens, c.shape.top_k, c.experts, c.weights, {}}, placement, choice);
    for (std::size_t rank = 0; rank < c.shape.num_ranks; ++rank)
      expect_destination(c, result, rank, plan.to(rank_at(rank)));
  }
}

TEST(Kernels, GroupRowsSortsWhatArrivedBySlotThenSource) {
  const auto device = emulated();
  for (const test::ArrivalCase& c : test::arrival_cases()) {
    const test::PlanResult plan = test::run(c.plan, *device);
    const test::ArrivalResult result = test::run(c, *device);
    const std::size_t count = c.plan.experts.size();
    std::vector<std::ptrdiff_t> inputs, outputs, addresses(count, -1);
    for (std::uint32_t slot = 0; slot + 1 < test::num_positions(c.plan); ++slot) {
      ASSERT_EQ(result.first_row[slot], std::min<std::size_t>(inputs.size(), c.max_rows));
      for (std::size_t rank = 0; rank < c.plan.shape.num_ranks; ++rank) {
        for (std::size_t i = plan.first_assignment[rank]; i < plan.first_assignment[rank + 1]; ++i) {
          if (plan.planned[i].slot != slot) continue;
          inputs.push_back(static_cast<std::ptrdiff_t>((rank * count + plan.planned[i].row) * 16));
          outputs.push_back(static_cast<std::ptrdiff_t>(i * 16));
        }
      }
    }
    for (std::size_t i = 0; i < plan.planned.size(); ++i)
      addresses[plan.planned[i].token * c.plan.shape.top_k + plan.planned[i].k] =
          static_cast<std::ptrdiff_t>(i * 16);
    inputs.resize(std::min<std::size_t>(inputs.size(), c.max_rows));
    outputs.resize(inputs.size());
    EXPECT_EQ(result.inputs, inputs);
    EXPECT_EQ(result.outputs, outputs);
    EXPECT_EQ(result.addresses, addresses);
  }
}

/// The outputs that group_rows places by slot, of one rank's part of a plan, in the plan's order. Those that
/// are left out are empty.
std::vector<const std::byte*> outputs_of(const test::SumsCase& c, const test::PlanResult& plan,
                                         std::size_t rank) {
  const auto* const first = c.dtype == Dtype::f32 ? reinterpret_cast<const std::byte*>(c.f32.data())
                                                  : reinterpret_cast<const std::byte*>(c.bf16.data());
  std::vector<const std::byte*> outputs;
  for (std::size_t i = plan.first_assignment[rank]; i < plan.first_assignment[rank + 1]; ++i) {
    const std::uint32_t slot = plan.planned[i].slot;
    const auto is_before = [&](std::size_t j) {
      return plan.planned[j].slot < slot || (plan.planned[j].slot == slot && j < i);
    };
    std::size_t place = 0;
    for (std::size_t j = 0; j < plan.planned.size(); ++j) place += is_before(j) ? 1U : 0U;
    outputs.push_back(slot + 1 < test::num_positions(c.plan) ? first + place * c.row_bytes() : nullptr);
  }
  return outputs;
}

TEST(Kernels, GroupRowsReadsNoMoreOfAPlanThanThereIsRoomFor) {
  const auto device = emulated();
  test::DeviceWork work(*device);
  struct {
    ArrivedPlan plan;
    PlannedAssignment assignments[2];
  } spoilt{{1, 0xFFFFFFFF, 0, 0}, {{0, 0, 0, 0, 1.0F}, {0, 1, 0, 1, 1.0F}}};
  std::uint32_t first_row[3] = {};
  const std::byte* inputs[2] = {};
  std::byte* outputs[2] = {};
  const ArrivedFrom source{&spoilt.plan, nullptr, nullptr, 2};
  work.queue().run(group_rows, {&source, 16, inputs, outputs, first_row, 1, 2, 2});
  work.wait();
  EXPECT_EQ(first_row[1], 1U);
  EXPECT_EQ(first_row[2], 2U);
}

TEST(Kernels, PushSumsReturnsOneRowForEachThatArrivedWithTheBitsOfTheExpertsSums) {
  const auto device = emulated();
  for (const test::SumsCase& c : test::sums_cases()) {
    const test::PlanResult plan = test::run(c.plan, *device);
    const test::SumsResult result = test::run(c, *device);
    std::vector<std::vector<WeightedRow>> parts(plan.first_row.back());
    std::vector<std::ptrdiff_t> addresses(c.plan.experts.size(), -1);
    for (std::size_t rank = 0; rank < c.plan.shape.num_ranks; ++rank) {
      const std::vector<const std::byte*> outputs = outputs_of(c, plan, rank);
      const PlannedAssignment* const planned = plan.planned.data() + plan.first_assignment[rank];
      for (std::size_t i = 0; i < outputs.size(); ++i) {
        const std::size_t row = plan.first_row[rank] + planned[i].row;
        if (outputs[i] != nullptr) parts[row].push_back({outputs[i], planned[i].weight});
        if (i == 0 || planned[i - 1].row != planned[i].row)
          addresses[planned[i].token * c.plan.shape.top_k + planned[i].k] =
              static_cast<std::ptrdiff_t>(row * c.row_bytes());
      }
    }
    std::vector<std::byte> expected(result.sums.size(), std::byte{0xEE});  // what lies behind them stays
    for (std::size_t row = 0; row < parts.size(); ++row)
      sum_weighted_rounded(parts[row], c.dtype, c.hidden, expected.data() + row * c.row_bytes());
    EXPECT_EQ(result.sums, expected) << "hidden " << c.hidden;
    EXPECT_EQ(result.addresses, addresses) << "hidden " << c.hidden;
  }
}

/// By plain loops, from the plan.
test::SourcesResult arranged_by_source(const test::SourcesCase& c, const test::PlanResult& plan) {
  const std::size_t top_k = c.plan.shape.top_k, row_bytes = c.plan.shape.row_bytes;
  test::SourcesResult expected;
  expected.first_place = {0};
  expected.computed.assign(test::num_positions(c.plan) - 1, 0);
  expected.returned.assign((plan.first_row.back() + 1) * row_bytes, std::byte{0xEE});
  for (std::size_t rank = 0; rank < c.plan.shape.num_ranks; ++rank) {
    const std::uint32_t first = plan.first_row[rank], num_rows = plan.first_row[rank + 1] - first;
    const std::uint32_t left = c.max_places - expected.first_place.back();
    const std::uint32_t room = std::min(c.room > 0 ? c.room : num_rows, left);
    const std::uint32_t count = std::min(num_rows, room);
    const std::size_t place = expected.first_place.back();
    expected.rows.resize((place + room) * row_bytes);
    expected.choices.resize((place + room) * top_k, -1);
    expected.weights.resize((place + room) * top_k);
    for (std::uint32_t row = 0; row < count; ++row) {
      const auto from =
          c.plan.rows.begin() + static_cast<std::ptrdiff_t>(plan.tokens[first + row] * row_bytes);
      std::copy_n(from, row_bytes,
                  expected.rows.begin() + static_cast<std::ptrdiff_t>((place + row) * row_bytes));
      std::copy_n(from, row_bytes,
                  expected.returned.begin() + static_cast<std::ptrdiff_t>((first + row) * row_bytes));
    }
    for (std::size_t i = plan.first_assignment[rank]; i < plan.first_assignment[rank + 1]; ++i) {
      const PlannedAssignment& a = plan.planned[i];
      if (a.row >= count || a.slot >= expected.computed.size()) continue;
      expected.choices[(place + a.row) * top_k + a.k] = static_cast<std::int32_t>(a.slot);
      expected.weights[(place + a.row) * top_k + a.k] = a.weight;
      ++expected.computed[a.slot];
    }
    expected.first_place.push_back(expected.first_place.back() + room);
    expected.counts.push_back(count);
  }
  return expected;
}

TEST(Kernels, ArrangeSourcesBringsEachRowOnceWithItsChoicesAndReturnSourcesGoesBack) {
  const auto device = emulated();
  for (const test::SourcesCase& c : test::sources_cases()) {
    const test::SourcesResult expected = arranged_by_source(c, test::run(c.plan, *device));
    test::SourcesResult result = test::run(c, *device);
    const std::size_t num_places = result.first_place.back();
    result.rows.resize(num_places * c.plan.shape.row_bytes);
    result.choices.resize(num_places * c.plan.shape.top_k);
    result.weights.resize(num_places * c.plan.shape.top_k);
    EXPECT_EQ(result.first_place, expected.first_place);
    EXPECT_EQ(result.counts, expected.counts);
    EXPECT_EQ(result.computed, expected.computed);
    EXPECT_EQ(result.choices, expected.choices);
    EXPECT_EQ(result.weights, expected.weights);
    EXPECT_EQ(result.rows, expected.rows);
    EXPECT_EQ(result.returned, expected.returned);
  }
}

TEST(Kernels, ArrangeRowsPadsEachSlotWithZerosAndReturnRowsGoesBack) {
  const auto device = emulated();
  for (const test::ArrangeCase& c : test::arrange_cases()) {
    const test::ArrangeResult result = test::run(c, *device);
    std::uint32_t place = 0, row = 0;
    for (std::size_t slot = 0; slot < c.rows.size(); row += c.rows[slot++]) {
      const std::uint32_t room = c.arrangement.capacity > 0
                                     ? c.arrangement.capacity
                                     : (c.rows[slot] + c.arrangement.alignment - 1) /
                                           c.arrangement.alignment * c.arrangement.alignment;
      const std::uint32_t end = std::min(place + room, c.max_places);
      ASSERT_EQ(result.first_place[slot], place);
      ASSERT_EQ(result.first_place[slot + 1], end);
      ASSERT_EQ(result.counts[slot], std::min(c.rows[slot], end - place));
      for (std::uint32_t i = 0; i < end - place; ++i) {
        for (std::size_t column = 0; column < c.row_bytes; ++column) {
          const std::byte value = i < c.rows[slot] ? c.value(row + i, column) : std::byte{0};
          ASSERT_EQ(result.rows[(place + i) * c.row_bytes + column], value);
        }
      }
      for (std::uint32_t i = 0; i < c.rows[slot]; ++i) {
        const std::byte value = i < result.counts[slot] ? c.value(row + i, 0) : std::byte{0xEE};
        EXPECT_EQ(result.returned[(c.num_rows() - 1 - row - i) * c.row_bytes], value);
      }
      place = end;
    }
  }
}

TEST(Kernels, CheckLogitsNamesTheFirstTokenThatHasNone) {
  const auto device = emulated();
  const std::vector<std::uint32_t> expected{0, 70, 69, 33};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const test::LogitsResult result = test::run(test::logits_cases()[i], *device);
    EXPECT_EQ(result.bad_token[0], expected[i]);
    EXPECT_TRUE(std::ranges::all_of(result.logits, [](float value) { return std::isfinite(value); }));
  }
}

void expect_near(float value, float expected) {
  EXPECT_LE(std::abs(value - expected), std::max(3e-6F * std::abs(expected), 1e-37F));
}

/// `t` is the token.
void expect_choice(const test::RouteCase& c, const test::RouteResult& result, std::size_t t) {
  const auto of = [&](auto& values) { return std::span(values).subspan(t * c.num_experts, c.num_experts); };
  std::vector<float> exact(of(c.logits).begin(), of(c.logits).end());
  c.spec.score == Score::softmax ? softmax(exact) : sigmoid(exact);
  for (std::size_t e = 0; e < exact.size(); ++e) expect_near(of(result.scores)[e], exact[e]);

  std::vector<float> selection(of(result.scores).begin(), of(result.scores).end());
  for (std::size_t e = 0; e < c.bias.size(); ++e) selection[e] += c.bias[e];
  std::vector<float> group_scores(c.spec.num_groups);
  if (c.spec.kept_groups < c.spec.num_groups) mask_groups(c.spec, selection, group_scores);
  EXPECT_TRUE(std::ranges::equal(selection, of(result.selection)));
  std::vector<ExpertId> experts(c.spec.top_k);
  std::vector<float> weights(c.spec.top_k);
  choose_top_k(selection, experts, weights);
  weigh_choice(c.spec, of(result.scores), experts, weights);
  for (std::size_t k = 0; k < experts.size(); ++k) {
    EXPECT_EQ(result.experts[t * experts.size() + k], experts[k]) << "token " << t << ", choice " << k;
    EXPECT_EQ(result.weights[t * experts.size() + k], weights[k]);
  }
}

TEST(Kernels, RouteTokensChoosesAsTheRouterDoesFromTheSameScores) {
  const auto device = emulated();
  for (const test::RouteCase& c : test::route_cases()) {
    const test::RouteResult result = test::run(c, *device);
    for (std::size_t token = 0; token < c.num_tokens; ++token) expect_choice(c, result, token);
  }
}

/// One chain of fused products in the order of the row.
float sum_of(const test::MultiplyCase& c, std::size_t slot, std::size_t matrix_row, std::size_t row) {
  const float* const w = c.weights.f32.data() + slot * c.matrix + matrix_row * c.shape.in;
  float sum = 0.0F;
  for (std::size_t k = 0; k < c.shape.in; ++k) sum = std::fma(c.input(row)[k], w[k], sum);
  return sum;
}

float product_of(const test::MultiplyCase& c, std::size_t slot, std::size_t output, std::size_t row) {
  const test::MultiplyShape& shape = c.shape;
  std::vector<float> value{sum_of(c, slot, output, row)};
  if (shape.finish == Finish::gated) {
    const std::vector<float> up{sum_of(c, slot, shape.out + output, row)};
    activate_gated(shape.activation, value, up, value);
  } else if (shape.finish == Finish::activated) {
    activate(shape.activation, value, value);
  }
  return shape.output_dtype == Dtype::f32 ? value[0] : widen(round_to_bf16(value[0]));
}

TEST(Kernels, MultiplyRowsSumsInTheOrderOfARow) {
  const auto device = emulated();
  for (const test::MultiplyCase& c : test::multiply_cases()) {
    const test::MultiplyResult result = test::run(c, *device);
    EXPECT_EQ(result.computed, c.shape.rows);
    for (std::size_t slot = 0; slot < c.shape.rows.size(); ++slot) {
      for (std::size_t row = c.first_row[slot]; row < c.first_row[slot + 1]; ++row) {
        for (std::size_t output = 0; output < c.shape.out; ++output)
          ASSERT_EQ(result.at(row * c.shape.out + output), product_of(c, slot, output, row));
      }
    }
  }
  EXPECT_EQ(test::count_dependent_rows(*device), 0U);
}

TEST(Kernels, ActivateRowsHasTheBitsOfTheExpertsActivations) {
  const auto device = emulated();
  for (const test::ActivateCase& c : test::activate_cases()) {
    std::vector<float> hidden(c.num_results());
    const std::size_t length = c.shape.length;
    for (std::size_t row = 0; row < c.shape.num_rows; ++row) {
      const std::span<const float> sums = std::span(c.f32).subspan(row * (c.is_gated ? 2 : 1) * length);
      const std::span<float> to = std::span(hidden).subspan(row * length, length);
      c.is_gated ? activate_gated(c.activation, sums.first(length), sums.subspan(length, length), to)
                 : activate(c.activation, sums.first(length), to);
    }
    std::vector<Bf16> rounded(hidden.size());
    round_to_bf16(hidden, rounded);
    const auto expected =
        c.dtype == Dtype::f32 ? std::as_bytes(std::span(hidden)) : std::as_bytes(std::span(rounded));
    EXPECT_TRUE(std::ranges::equal(test::run(c, *device), expected)) << "length " << length;
  }
}

TEST(Kernels, ChecksumRowsTakesThoseOfTheAudit) {
  const auto device = emulated();
  for (const test::ChecksumCase& c : test::checksum_cases()) {
    const std::vector<std::uint64_t> checksums = test::run(c, *device);
    const RoundAudit audit(c.generation, Rank{0});
    for (std::size_t i = 0; i < c.num_rows; ++i) {
      if (!c.is_there[i]) continue;
      const RowLabel label{c.is_back ? Direction::back : Direction::dispatch, Rank{c.source}, Rank{1},
                           c.tokens[i], c.ks[i]};
      const std::span<const std::byte> row(c.rows.data() + i * c.row_bytes, c.row_bytes);
      EXPECT_EQ(checksums[i], audit.checksum(label, row)) << c.row_bytes << " bytes";
    }
    EXPECT_EQ(checksums[2], 0xEEEEEEEEEEEEEEEEU);
  }
}

}  // namespace
}  // namespace moewe
